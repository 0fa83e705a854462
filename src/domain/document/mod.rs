//! Documents: invoices, payout statements, and the statement that shows a consumer both.
