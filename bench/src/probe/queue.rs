//! Jobs through RabbitMQ.

use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use pagemill_core::Lane;
use pagemill_queue::{Address, Message, PageQueue, Rabbit, RabbitConfig};

use super::{Probed, context::Context};

const PREFETCH: u16 = 250;

impl Context {
    pub(super) async fn queue(&self) -> anyhow::Result<Rabbit> {
        let config = RabbitConfig {
            url: self.config.amqp.url.clone(),
            sources: vec![self.source.clone()],
            retry: self.config.consumer.retry.clone(),
        };
        Ok(Rabbit::connect(config).await?)
    }

    pub(super) async fn publish(&self) -> anyhow::Result<Probed> {
        let queue = self.queue().await?;
        let job = self.job(20_260_100_000_001);
        let to = Address::Lane { source: self.source.clone(), lane: Lane::High };
        let messages = (1..=self.pages).map(|page| {
            let job = job.at(page, 0);
            Message { id: job.id(), body: job.encode(), note: None }
        });
        let begun = self.begin();
        queue.publish(&to, messages).await?;
        let probed = self.probed(begun, u64::from(self.pages), true);
        queue.close().await;
        Ok(probed)
    }

    pub(super) async fn consume(&self) -> anyhow::Result<Probed> {
        let queue = self.queue().await?;
        let begun = self.begin();
        let mut deliveries = queue.subscribe(&self.source, Lane::High, PREFETCH).await?;
        let mut acking = FuturesUnordered::new();
        for _ in 0..self.pages {
            let delivery = deliveries.next().await.context("the subscription ended")?;
            acking.push(delivery.ack());
            if acking.len() >= usize::from(PREFETCH) / 2 {
                acking.next().await.transpose()?;
            }
        }
        while acking.try_next().await?.is_some() {}
        let probed = self.probed(begun, u64::from(self.pages), true);
        deliveries.close().await;
        queue.close().await;
        Ok(probed)
    }
}
