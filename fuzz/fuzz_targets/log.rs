//! Reads batches of the log, whole and damaged: what went in comes out, or an error that names the batch.

#![no_main]

use flate2::Crc;
use libfuzzer_sys::fuzz_target;
use tallystick::domain::time::Instant;
use tallystick::metering::log;
use tallystick::metering::log::Draft;
use tallystick::metering::log::Sealer;
use tallystick::store::batches::Batch;

fuzz_target!(|input: (Vec<String>, u16, u8, Vec<u8>)| {
    let (texts, place, bit, bytes) = input;
    let now = Instant::from_micros(0);
    let texts: Vec<String> = texts.iter().map(|text| format!("{{{}}}", text.replace(['\n', '\r'], " "))).collect();
    let mut draft = Draft::default();
    texts.iter().for_each(|text| draft.push(text.as_bytes(), now));
    let mut batch = Sealer::new().and_then(|mut sealer| sealer.seal(&draft, 7, now)).expect("seals");
    let whole = log::lines(&batch).expect("is whole");
    assert_eq!(whole.lines().collect::<Vec<_>>(), texts);

    // One bit, anywhere.
    let place = usize::from(place) % batch.body.len();
    batch.body[place] ^= 1 << (bit % 8);
    assert_eq!(log::lines(&batch).expect_err("is damaged").seq, 7);

    // Damage that the checksum does not show: the decoder says something, and does not fall over.
    let _ = log::lines(&summed(batch.clone()));
    batch.body = bytes;
    let _ = log::lines(&summed(batch));
});

fn summed(mut batch: Batch) -> Batch {
    let mut crc = Crc::new();
    crc.update(&batch.body);
    batch.checksum = i64::from(crc.sum());
    batch
}
