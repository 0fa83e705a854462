-- What a consumer is not meant to spend more than in a billing period, in the minor unit of its currency.
alter table consumer add column spend_cap bigint check (spend_cap > 0);

-- JSON list of the percentages of it at which somebody wants to know.
alter table consumer add column alerts text not null default '[]';
