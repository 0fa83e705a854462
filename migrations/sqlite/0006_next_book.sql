-- The price book whose fees in advance a closing charged for the period after; none where the subscription ends.
alter table closed_period add column next_book_version text references book_version (id);
