//! The consumer while leaders change under it.

use std::time::Duration;

use chronik_client::consumer::{Consumer, ConsumerOptions};
use chronik_client::{Client, ClientOptions, Producer, ProducerOptions, ProducerRecord};
use tokio::time::timeout;

use crate::broker::{Broker, TOPIC};

const LIMIT: Duration = Duration::from_secs(20);

async fn broker_with(records: usize) -> (Broker, Client) {
    let broker = Broker::start(1, []).await;
    let client = Client::connect(ClientOptions::new(&broker.address)).await.unwrap();
    let producer = Producer::new(&client, ProducerOptions { batch_bytes: 300, ..ProducerOptions::default() });
    for i in 0..records {
        let value = Some(format!("{i}").into());
        let record = ProducerRecord { topic: TOPIC.into(), partition: Some(0), value, ..ProducerRecord::default() };
        let _delivery = producer.send(record).await.unwrap();
    }
    producer.close(LIMIT).await.unwrap();
    (broker, client)
}

/// Polls this often until so many records have come, and gives their values.
async fn read(consumer: &mut Consumer, wait: Duration, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        for fetched in consumer.poll(wait).await.unwrap() {
            let records = fetched.records().unwrap();
            values.extend(
                records.iter().map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()),
            );
        }
    }
    values
}

#[tokio::test]
async fn polls_of_any_length_outlive_new_leader_epochs_and_lost_connections() {
    for wait in [0, 1, 10, 100, 500] {
        let (broker, client) = broker_with(300).await;
        let mut consumer = Consumer::assigned(&client, ConsumerOptions::default(), &[(TOPIC.to_owned(), 0, 0)]);
        let wait = Duration::from_millis(wait);
        let first = timeout(LIMIT, read(&mut consumer, wait, 1)).await.expect("records come");
        broker.restart();
        let rest = timeout(LIMIT, read(&mut consumer, wait, 300 - first.len())).await.expect("they go on coming");
        let expected: Vec<String> = (0..300).map(|i| i.to_string()).collect();
        assert_eq!([first, rest].concat(), expected, "polls of {wait:?}");
    }
}
