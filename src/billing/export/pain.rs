//! `pain.001.xml`: payouts as SEPA credit transfers, in ISO 20022's pain.001.001.09.
//!
//! What banks ask for beyond the schema is kept too: letters of the SEPA set only, references of at most 35 characters, no
//! addresses, a total that is the sum, and `NOTPROVIDED` where the BIC of the platform's bank is not known.

use std::fmt::Write as _;

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::domain::bank::BankAccount;
use crate::domain::bank::plain_letters;
use crate::domain::money::Money;
use crate::domain::time::Instant;

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09";
/// Of names, and of what stands on the statement of whoever is paid.
const NAME_CHARS: usize = 70;
const REMITTANCE_CHARS: usize = 140;

/// Transfers that one account pays on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// At most 34 characters: the one payment in it has one more.
    pub id: &'a str,
    pub made_at: Instant,
    pub pay_on: Date,
    pub debtor: &'a BankAccount,
    pub transfers: Vec<Transfer<'a>>,
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer<'a> {
    /// By which both banks and both parties know it; at most 35 characters.
    pub end_to_end: String,
    /// In euros.
    pub amount: Money,
    pub creditor: &'a BankAccount,
    pub remittance: String,
}

pub fn text(message: &Message<'_>) -> String {
    let Message { id, made_at, pay_on, debtor, transfers } = message;
    let count = transfers.len();
    let sum: Decimal = transfers.iter().map(|transfer| transfer.amount.decimal()).sum();
    let made_at = made_at.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ");
    let name = plain_letters(&debtor.name, NAME_CHARS);
    let agent = match &debtor.bic {
        Some(bic) => format!("<BICFI>{}</BICFI>", bic.as_str()),
        None => "<Othr><Id>NOTPROVIDED</Id></Othr>".to_owned(),
    };
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<Document xmlns=\"{NAMESPACE}\">
 <CstmrCdtTrfInitn>
  <GrpHdr>
   <MsgId>{id}</MsgId>
   <CreDtTm>{made_at}</CreDtTm>
   <NbOfTxs>{count}</NbOfTxs>
   <CtrlSum>{sum}</CtrlSum>
   <InitgPty><Nm>{name}</Nm></InitgPty>
  </GrpHdr>
  <PmtInf>
   <PmtInfId>{id}P</PmtInfId>
   <PmtMtd>TRF</PmtMtd>
   <NbOfTxs>{count}</NbOfTxs>
   <CtrlSum>{sum}</CtrlSum>
   <PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl></PmtTpInf>
   <ReqdExctnDt><Dt>{pay_on}</Dt></ReqdExctnDt>
   <Dbtr><Nm>{name}</Nm></Dbtr>
   <DbtrAcct><Id><IBAN>{}</IBAN></Id></DbtrAcct>
   <DbtrAgt><FinInstnId>{agent}</FinInstnId></DbtrAgt>
   <ChrgBr>SLEV</ChrgBr>
",
        debtor.iban
    );
    transfers.iter().for_each(|transfer| write(&mut xml, transfer));
    xml.push_str("  </PmtInf>\n </CstmrCdtTrfInitn>\n</Document>\n");
    xml
}

fn write(xml: &mut String, transfer: &Transfer<'_>) {
    let Transfer { end_to_end, amount, creditor, remittance } = transfer;
    let agent = creditor
        .bic
        .as_ref()
        .map(|bic| format!("\n    <CdtrAgt><FinInstnId><BICFI>{}</BICFI></FinInstnId></CdtrAgt>", bic.as_str()));
    let _ = writeln!(
        xml,
        "   <CdtTrfTxInf>
    <PmtId><InstrId>{end_to_end}</InstrId><EndToEndId>{end_to_end}</EndToEndId></PmtId>
    <Amt><InstdAmt Ccy=\"{}\">{}</InstdAmt></Amt>{}
    <Cdtr><Nm>{}</Nm></Cdtr>
    <CdtrAcct><Id><IBAN>{}</IBAN></Id></CdtrAcct>
    <RmtInf><Ustrd>{}</Ustrd></RmtInf>
   </CdtTrfTxInf>",
        amount.currency(),
        amount.decimal(),
        agent.unwrap_or_default(),
        plain_letters(&creditor.name, NAME_CHARS),
        creditor.iban,
        plain_letters(remittance, REMITTANCE_CHARS),
    );
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::domain::bank::Bic;
    use crate::domain::bank::Iban;
    use crate::domain::money::Currency;

    fn account(name: &str, iban: &str, bic: Option<&str>) -> BankAccount {
        let bic = bic.map(|bic| Bic::parse(bic).expect("a BIC"));
        BankAccount { name: name.to_owned(), iban: Iban::parse(iban).expect("an IBAN"), bic }
    }

    fn message(debtor_bic: Option<&str>) -> String {
        let debtor = account("Platform & Søns B.V.", "NL91ABNA0417164300", debtor_bic);
        let jan = account("Jan <Jansen>", "DE89370400440532013000", Some("COBADEFFXXX"));
        let ola = account("Ola Nordmann", "NO9386011117947", None);
        let transfer = |end_to_end: &str, minor, creditor| Transfer {
            end_to_end: end_to_end.to_owned(),
            amount: Money::from_minor(minor, Currency::from_code("EUR").expect("EUR exists")),
            creditor,
            remittance: "Rewards, payout pay_1".to_owned(),
        };
        let transfers = vec![transfer("pay1-1", 1234, &jan), transfer("pay2-1", 50, &ola)];
        let made_at = Instant::parse("2026-11-30T09:00:00.5Z").expect("a time");
        text(&Message { id: "TS1", made_at, pay_on: date(2026, 12, 1), debtor: &debtor, transfers })
    }

    /// Every element in its order: its path below the message, and its text if it has one.
    fn elements(xml: &str) -> Vec<String> {
        let (mut path, mut found) = (Vec::new(), Vec::new());
        for piece in xml.split('<').skip(2) {
            let (tag, text) = piece.split_once('>').expect("a tag ends");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(path.pop(), Some(name), "what opens last closes first");
                continue;
            }
            let name = tag.split(' ').next().expect("a name");
            path.push(name);
            let attributes = &tag[name.len()..];
            let place = path.iter().skip(2).copied().collect::<Vec<_>>().join("/");
            if !text.trim().is_empty() {
                found.push(format!("{place}{attributes} {text}"));
            }
        }
        assert!(path.is_empty());
        found
    }

    #[test]
    fn every_element_stands_where_the_schema_wants_it() {
        let expected = [
            "GrpHdr/MsgId TS1",
            "GrpHdr/CreDtTm 2026-11-30T09:00:00Z",
            "GrpHdr/NbOfTxs 2",
            "GrpHdr/CtrlSum 12.84",
            "GrpHdr/InitgPty/Nm Platform + Sons B.V.",
            "PmtInf/PmtInfId TS1P",
            "PmtInf/PmtMtd TRF",
            "PmtInf/NbOfTxs 2",
            "PmtInf/CtrlSum 12.84",
            "PmtInf/PmtTpInf/SvcLvl/Cd SEPA",
            "PmtInf/ReqdExctnDt/Dt 2026-12-01",
            "PmtInf/Dbtr/Nm Platform + Sons B.V.",
            "PmtInf/DbtrAcct/Id/IBAN NL91ABNA0417164300",
            "PmtInf/DbtrAgt/FinInstnId/BICFI ABNANL2A",
            "PmtInf/ChrgBr SLEV",
            "PmtInf/CdtTrfTxInf/PmtId/InstrId pay1-1",
            "PmtInf/CdtTrfTxInf/PmtId/EndToEndId pay1-1",
            "PmtInf/CdtTrfTxInf/Amt/InstdAmt Ccy=\"EUR\" 12.34",
            "PmtInf/CdtTrfTxInf/CdtrAgt/FinInstnId/BICFI COBADEFFXXX",
            "PmtInf/CdtTrfTxInf/Cdtr/Nm Jan .Jansen.",
            "PmtInf/CdtTrfTxInf/CdtrAcct/Id/IBAN DE89370400440532013000",
            "PmtInf/CdtTrfTxInf/RmtInf/Ustrd Rewards, payout pay-1",
            "PmtInf/CdtTrfTxInf/PmtId/InstrId pay2-1",
            "PmtInf/CdtTrfTxInf/PmtId/EndToEndId pay2-1",
            "PmtInf/CdtTrfTxInf/Amt/InstdAmt Ccy=\"EUR\" 0.50",
            "PmtInf/CdtTrfTxInf/Cdtr/Nm Ola Nordmann",
            "PmtInf/CdtTrfTxInf/CdtrAcct/Id/IBAN NO9386011117947",
            "PmtInf/CdtTrfTxInf/RmtInf/Ustrd Rewards, payout pay-1",
        ];
        let xml = message(Some("ABNANL2A"));
        assert_eq!(elements(&xml), expected);
        assert!(xml.contains(&format!("<Document xmlns=\"{NAMESPACE}\">")));
        let without = elements(&message(None));
        assert!(without.contains(&"PmtInf/DbtrAgt/FinInstnId/Othr/Id NOTPROVIDED".to_owned()), "{without:?}");
    }
}
