//! What was sold, account health, feedback.

use chrono::TimeDelta;
use jobs::{
    performance::{self, Product, Report, ReportState, Step},
    sp_api::Operation,
};

use super::{Desk, Later};
use crate::sellers::Stored;

/// How long Amazon makes a report.
const REPORT_TAKES: TimeDelta = TimeDelta::seconds(90);
/// As `sync_performance` has it: then a run makes way for other sellers.
const PRODUCTS_A_RUN: u32 = 50;

impl Desk<'_> {
    pub(super) async fn sync_performance(&self) -> Result<(), Later> {
        self.note_late_products();
        let mut asked = 0;
        loop {
            let now = self.now();
            let step = self.stored(|stored| performance::next_step(&stored.performance, now));
            match step {
                Step::Marketplace(id) => {
                    self.call(Operation::GetOrderMetrics).await?;
                    let now = self.now();
                    self.stored(|stored| {
                        let of_it =
                            stored.performance.marketplaces.iter_mut().filter(|(known, _)| *known == id);
                        of_it.for_each(|(_, at)| *at = Some(now));
                    });
                }
                Step::Product(product) => {
                    if asked == PRODUCTS_A_RUN {
                        return Err(Later(self.now()));
                    }
                    asked += 1;
                    self.call(Operation::GetOrderMetrics).await?;
                    let now = self.now();
                    self.stored(|stored| {
                        let known = stored.performance.products.iter_mut().find(|known| **known == product);
                        known.into_iter().for_each(|known| known.asked_at = Some(now));
                    });
                }
                Step::AskForReport(report_type, marketplace_id) => {
                    self.call(Operation::CreateReport).await?;
                    let now = self.now();
                    let report = Report {
                        report_type,
                        marketplace_id,
                        report_id: "1".to_owned(),
                        asked_at: now,
                        data_from: performance::data_from(report_type, now),
                        state: ReportState::Asked { looks: 0, next_look_at: performance::next_look(0, now) },
                    };
                    self.stored(|stored| stored.becomes(report));
                }
                Step::Look(report) => {
                    self.call(Operation::GetReport).await?;
                    let now = self.now();
                    let looks =
                        if let ReportState::Asked { looks, .. } = report.state { looks + 1 } else { 0 };
                    let state = if now - report.asked_at >= REPORT_TAKES {
                        ReportState::Ready { document_id: "d".to_owned() }
                    } else {
                        ReportState::Asked { looks, next_look_at: performance::next_look(looks, now) }
                    };
                    self.stored(|stored| stored.becomes(Report { state, ..report }));
                }
                Step::Fetch(report) => {
                    self.call(Operation::GetReportDocument).await?;
                    self.stored(|stored| stored.becomes(Report { state: ReportState::Ended, ..report }));
                }
                Step::GiveUp(report) => {
                    self.stored(|stored| stored.becomes(Report { state: ReportState::Ended, ..report }));
                }
                Step::Wait(until) => return Err(Later(until)),
                Step::Nothing => return Ok(()),
            }
        }
    }

    /// The products that were ordered lately need figures once a day.
    fn note_late_products(&self) {
        let now = self.now();
        let mut seller = self.office.sellers[self.number as usize].borrow_mut();
        let (sold, marketplaces) = (seller.products_sold, seller.marketplaces.len().max(1));
        let performance = &mut seller.stored.performance;
        if performance.products.is_empty() {
            for number in 0..sold {
                let marketplace_id = performance.marketplaces[number % marketplaces].0.clone();
                let product =
                    Product { marketplace_id, asin: format!("B{number:09}"), wanted_at: now, asked_at: None };
                performance.products.push(product);
            }
        }
        for product in &mut performance.products {
            if now - product.wanted_at >= performance::FRESH {
                product.wanted_at = now;
            }
        }
    }
}

impl Stored {
    /// Notes how a report is now.
    fn becomes(&mut self, report: Report) {
        let same = |known: &&mut Report| {
            known.report_type == report.report_type && known.marketplace_id == report.marketplace_id
        };
        match self.performance.reports.iter_mut().find(same) {
            Some(known) => *known = report,
            None => self.performance.reports.push(report),
        }
    }
}
