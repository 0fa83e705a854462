//! A percentage of money that goes through a platform, event by event: free ones first, and a least and a most that each
//! costs.
//!
//! An event is free while both free budgets last: it is among the first `free_events`, and the money up to and including
//! it stays below `free_amount`. Whichever is used up first ends both, for good. The event that brings the money to
//! `free_amount` pays its rate on the part above only, and the whole fixed amount.

use rust_decimal::Decimal;

use crate::domain::book::plan::Percentage;
use crate::domain::rating::PriceError;
use crate::domain::rating::exact;

/// What the events so far come to.
#[derive(Clone, Debug)]
pub struct Events<'m> {
    model: &'m Percentage,
    /// Events that were free and that were not, and the money that pays the rate.
    pub free: u64,
    pub charged: u64,
    pub paying: Decimal,
    /// All money so far, while some is free.
    money: Decimal,
    free_is_over: bool,
    pub amount: Decimal,
}

impl<'m> Events<'m> {
    pub fn new(model: &'m Percentage) -> Self {
        let by_event = &model.by_event;
        let free_is_over = by_event.free_events.is_none() && by_event.free_amount.is_none();
        let (paying, money, amount) = (Decimal::ZERO, Decimal::ZERO, Decimal::ZERO);
        Self { model, free: 0, charged: 0, paying, money, free_is_over, amount }
    }

    /// Adds the next event, by its money. Less than nothing counts as nothing.
    pub fn add(&mut self, money: Decimal) -> Result<(), PriceError> {
        let money = money.max(Decimal::ZERO);
        let Some(paying) = self.paying_of(money)? else {
            self.free = self.free.saturating_add(1);
            return Ok(());
        };
        self.charged = self.charged.saturating_add(1);
        self.paying = exact::add(self.paying, paying)?;
        let by_event = &self.model.by_event;
        let cost = exact::add(percent(paying, self.model.rate)?, self.model.fixed_amount)?;
        let cost = by_event.minimum.map_or(cost, |minimum| cost.max(minimum));
        let cost = by_event.maximum.map_or(cost, |maximum| cost.min(maximum));
        self.amount = exact::add(self.amount, cost)?;
        Ok(())
    }

    /// The part of an event's money that pays the rate; none if the event is free.
    fn paying_of(&mut self, money: Decimal) -> Result<Option<Decimal>, PriceError> {
        if self.free_is_over {
            return Ok(Some(money));
        }
        let by_event = &self.model.by_event;
        if by_event.free_events.is_some_and(|free| self.free >= free) {
            self.free_is_over = true;
            return Ok(Some(money));
        }
        self.money = exact::add(self.money, money)?;
        match by_event.free_amount {
            Some(free) if self.money >= free => {
                self.free_is_over = true;
                exact::sub(self.money, free).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// So many percent of an amount. Multiplies by a hundredth, which is exact.
pub fn percent(amount: Decimal, rate: Decimal) -> Result<Decimal, PriceError> {
    exact::mul(exact::mul(amount, rate)?, Decimal::new(1, 2))
}
