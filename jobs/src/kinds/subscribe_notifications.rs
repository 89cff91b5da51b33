//! Lets a seller's notices of changed orders and finished reports come into our queue.
//!
//! When: daily for each connected seller, where a queue is configured.
//! Safe to repeat: what is there is found, and a subscription that somebody else just made is as good.
//! Limits: one call a second of each operation; those about our queue itself are our application's, and made once.
//! Does not promise: that notices come; orders and reports are asked for all the same.
//! In dead letters: deploy/runbooks/subscribe_notifications.md.

use std::time::Duration;

use queue::{Failure, Group, Job, Outcome, Policy, Run, Schedule, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{Connected, NOT_CONNECTED},
    context::Context,
    notice_queue::NoticeSource,
    sp_api::{
        CallError,
        answer::Refusal,
        notifications::{self, NoticeType},
        request::{Request, Success},
    },
    store::{
        notices,
        sellers::{self, SellerId},
    },
};

/// The seller whose notices are subscribed to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeNotifications {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a run found and did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Subscribed {
    /// Types whose notices came to us already.
    pub present: Vec<&'static str>,
    /// Types whose notices come from now on.
    pub created: Vec<&'static str>,
    /// Types whose notices go to another queue.
    pub elsewhere: Vec<&'static str>,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// HTTP's word for what is there already.
const CONFLICT: u16 = 409;

impl Job for SubscribeNotifications {
    const KIND: &'static str = "subscribe_notifications";
    const SUMMARY: &'static str =
        "Lets a seller's notices of changed orders and finished reports come into our queue.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(5))
        .max_attempts(20)
        .delays(Duration::from_secs(10), Duration::from_secs(3_600))
        .unique();
    const GROUP: Group = Group::Field("seller");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("0 1 * * *").spread(minutes(24 * 60)));

    type Context = Context;
    type Report = Subscribed;

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Subscribed> {
        let mut subscribed = Subscribed::default();
        let NoticeSource::Queue { arn, .. } = &context.notices else {
            return Ok(Subscribed { skipped: Some("no queue is configured"), ..subscribed });
        };
        let Some(connected) = Connected::open(context, self.seller, run).await? else {
            return Ok(Subscribed { skipped: Some(NOT_CONNECTED), ..subscribed });
        };
        let destination = destination(&connected, arn).await?;
        for notice_type in NoticeType::ALL {
            let name = notice_type.name();
            match subscribe(&connected, notice_type, &destination).await {
                Ok(Found::Present) => subscribed.present.push(name),
                Ok(Found::Created) => subscribed.created.push(name),
                Ok(Found::Elsewhere) => {
                    tracing::warn!(seller.id = %self.seller, notice.name = name, "a seller's notices go to another queue");
                    subscribed.elsewhere.push(name);
                }
                Err(error) => return Err(self.refused(&connected, &destination, error).await),
            }
        }
        Ok(subscribed)
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

/// Where a seller's notices of a type went.
enum Found {
    Present,
    Created,
    Elsewhere,
}

async fn subscribe(
    connected: &Connected<'_>,
    notice_type: NoticeType,
    destination: &str,
) -> Result<Found, CallError> {
    match connected.call(&notifications::subscription_request(notice_type)).await {
        Ok(answer) if notifications::subscribed_destination(&answer.body)? == destination => {
            return Ok(Found::Present);
        }
        Ok(_) => return Ok(Found::Elsewhere),
        Err(error) if error.refusal() == Some(Refusal::NotFound) => {}
        Err(error) => return Err(error),
    }
    match connected.call(&notifications::new_subscription_request(notice_type, destination)).await {
        Ok(_) => Ok(Found::Created),
        Err(CallError::Refused { status: CONFLICT, .. }) => Ok(Found::Present),
        Err(error) => Err(error),
    }
}

/// What Amazon calls our queue in the seller's region.
async fn destination(connected: &Connected<'_>, arn: &str) -> Outcome<String> {
    let (context, region) = (connected.context, connected.seller.region);
    let known = notices::destination(&mut *context.pool.acquire().await?, region, arn).await?;
    if let Some(id) = known {
        return Ok(id);
    }
    let id = match find_or_tell(connected, arn).await {
        Ok(id) => id,
        Err(error) => return Err(connected.failed(error).await),
    };
    let now = context.clock.now();
    notices::note_destination(&mut *context.pool.acquire().await?, region, arn, &id, now).await?;
    Ok(id)
}

async fn find_or_tell(connected: &Connected<'_>, arn: &str) -> Result<String, CallError> {
    let answer = application_call(connected, &notifications::destinations_request()).await?;
    let known = notifications::destinations(&answer.body)?;
    if let Some(destination) = known.into_iter().find(|known| known.queue_arn.as_deref() == Some(arn)) {
        return Ok(destination.id);
    }
    let answer = application_call(connected, &notifications::new_destination_request(arn)).await?;
    Ok(notifications::new_destination(&answer.body)?.id)
}

/// Makes a call of our application itself, in the seller's region.
async fn application_call(connected: &Connected<'_>, request: &Request) -> Result<Success, CallError> {
    let (sp_api, region) = (&connected.context.sp_api, connected.seller.region);
    let permit = sp_api.application_permit(region, request.operation(), &connected.ticket).await?;
    sp_api.application_call(permit, region, request).await
}

impl SubscribeNotifications {
    /// A request that Amazon finds wrong may name a queue that it has forgotten: the next attempt asks for it anew.
    async fn refused(&self, connected: &Connected<'_>, destination: &str, error: CallError) -> Failure {
        if !matches!(error.refusal(), Some(Refusal::InvalidInput | Refusal::NotFound)) {
            return connected.failed(error).await;
        }
        let forgotten = async {
            let mut connection = connected.context.pool.acquire().await?;
            notices::forget_destination(&mut connection, connected.seller.region, destination).await
        };
        match forgotten.await {
            Ok(()) => Failure::retry(error),
            Err(database) => database.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sandbox::{Fault, Operation as Asked};

    use super::*;
    use crate::testing::{QUEUE_ARN, Shop, rejected, retried, snoozed};

    const BOTH: [&str; 2] = ["ORDER_CHANGE", "REPORT_PROCESSING_FINISHED"];

    async fn listening() -> Shop {
        let mut shop = Shop::with_orders(0).await;
        shop.listen();
        shop
    }

    fn job(shop: &Shop) -> SubscribeNotifications {
        SubscribeNotifications { seller: shop.seller }
    }

    async fn subscribe(shop: &Shop) -> Subscribed {
        shop.run(&job(shop)).await.expect("nothing is wrong")
    }

    fn calls(shop: &Shop) -> [usize; 4] {
        [Asked::GetDestinations, Asked::CreateDestination, Asked::GetSubscription, Asked::CreateSubscription]
            .map(|operation| shop.calls_of(operation).len())
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = listening().await;
        let subscribed = subscribe(&shop).await;
        assert_eq!(subscribed, Subscribed { created: BOTH.to_vec(), ..Subscribed::default() });
        assert_eq!(calls(&shop), [1, 1, 2, 2]);
        let known = shop.one("select region || ' ' || queue_arn from notice_destinations").await;
        assert_eq!(known, format!("eu {QUEUE_ARN}"));
        assert_eq!(shop.sandbox.control().summary().refused, [""; 0]);
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = listening().await;
        subscribe(&shop).await;
        let again = subscribe(&shop).await;
        assert_eq!(again, Subscribed { present: BOTH.to_vec(), ..Subscribed::default() });
        assert_eq!(calls(&shop), [1, 1, 4, 2], "the queue is known, and what is there is not made again");
        // Amazon remembers the queue where we do not.
        shop.execute("delete from notice_destinations").await;
        assert_eq!(subscribe(&shop).await, again);
        assert_eq!(calls(&shop), [2, 1, 6, 2]);
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = listening().await;
        shop.fault_after(1, Asked::CreateSubscription, Fault::Internal, 1);
        retried(shop.run(&job(&shop)).await);
        let resumed = subscribe(&shop).await;
        assert_eq!((resumed.present, resumed.created), (vec![BOTH[0]], vec![BOTH[1]]));
        assert_eq!(calls(&shop)[1], 1);
    }

    #[tokio::test]
    async fn a_queue_that_amazon_has_forgotten_is_told_anew() {
        let shop = listening().await;
        shop.execute(&format!(
            "insert into notice_destinations values ('eu', '{QUEUE_ARN}', '00000000-0000-0000-0000-000000000000', now())"
        ))
        .await;
        let error = retried(shop.run(&job(&shop)).await);
        assert!(error.contains("createSubscription"), "{error}");
        assert_eq!(subscribe(&shop).await.created, BOTH);
    }

    #[tokio::test]
    async fn notices_that_go_to_another_queue_are_told_of_and_left_there() {
        let mut shop = listening().await;
        subscribe(&shop).await;
        let NoticeSource::Queue { queue, .. } = shop.context.notices.clone() else { panic!("it listens") };
        let arn = "arn:aws:sqs:eu-west-1:000000000000:another".to_owned();
        Arc::get_mut(&mut shop.context).expect("nobody else uses it").notices =
            NoticeSource::Queue { arn, queue };
        let subscribed = subscribe(&shop).await;
        assert_eq!(subscribed, Subscribed { elsewhere: BOTH.to_vec(), ..Subscribed::default() });
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let mut shop = Shop::with_orders(0).await;
        assert_eq!(subscribe(&shop).await.skipped, Some("no queue is configured"));
        shop.listen();
        shop.execute("update sellers set state = 'disconnected'").await;
        assert_eq!(subscribe(&shop).await.skipped, Some(NOT_CONNECTED));
        assert_eq!(calls(&shop), [0; 4]);
    }

    #[tokio::test]
    async fn a_revoked_grant_is_the_sellers() {
        let shop = listening().await;
        shop.sandbox.control().revoke(&shop.account.selling_partner_id).expect("the seller is known");
        let error = rejected(shop.run(&job(&shop)).await);
        assert!(error.contains("the seller must connect again"), "{error}");
        assert_eq!(shop.state().await, "needs_reauthorisation");
    }

    #[tokio::test]
    async fn throttled_it_snoozes_whoever_was_asked_for() {
        let shop = listening().await;
        for operation in [Asked::GetDestinations, Asked::CreateDestination, Asked::GetSubscription] {
            shop.fault(operation, Fault::Quota, 1);
            let until = snoozed(shop.run(&job(&shop)).await);
            shop.clock.advance(until - shop.context.clock.now() + chrono::TimeDelta::seconds(5));
        }
        assert_eq!(subscribe(&shop).await.created, BOTH);
    }
}
