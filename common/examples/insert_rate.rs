//! Throwaway.
#![allow(clippy::unwrap_used)]
use std::time::Instant;
use millrace_common::stores::clickhouse::*;
use millrace_core::{definitions::*, event::*, key::KeyText, partition::Partition, position::Position};
#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let writers: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let ns = format!("rate_{}", std::process::id());
    migrate(&url, &ns).await.unwrap();
    let store = ClickHouse::connect(&url, &ns).unwrap();
    let yaml = "entities: { household: { key: household_id, type: int64 }, product: { key: product_id, type: int64 } }\nevents: { purchase: { partition_by: household, entities: [product] } }";
    let d = Definitions::compile(DefinitionsSource { yaml: yaml.into(), schemas: Default::default() }).unwrap();
    store.apply_definitions(&d).await.unwrap();
    let mut encode = 0.0; let mut total = 0u64; let mut secs = 0.0; let mut bytes = 0;
    for round in 0..5u64 {
        let t = Instant::now();
        let layout = std::sync::Arc::new(Layout::new(&d));
        let batches: Vec<Rows> = (0..writers).map(|p| { let mut rows = Rows::default(); let mut es = Vec::new();
            for n in 0..50_000u64 { let id = round * 50_000 + n;
                let e = Event { event_type: "purchase".into(), source: "till".into(), id: EventId::Given(format!("{p}-{id:012}")), time: Some(1_790_000_000_000 - (id as i64 * 7919) % 2_592_000_000), keys: vec![("household".into(), KeyText::from_canonical(&(id * 31 % 2500).to_string())), ("product".into(), KeyText::from_canonical(&(id * 17 % 90_000).to_string()))],
                 properties: if std::env::var("EMPTY").is_ok() { "{}".into() } else { format!("{{\"basket_id\":\"{}\",\"coupon_disc\":\"0.00\",\"department\":\"GROCERY\",\"quantity\":{},\"retail_disc\":\"0.{:02}\",\"sales_value\":\"{}.{:02}\",\"store_id\":\"{}\",\"week\":{}}}", id / 9, n % 5, n % 100, n % 40, n % 100, n % 300, n % 53) }, traceparent: None };
                es.push((Position::new(1_790_000_000_000 + id / 50, id % 50), e)); } let t = Instant::now(); if std::env::var("SORT").is_ok() { es.sort_by(|(p, a), (q, b)| (&a.event_type, a.partition_key().as_str(), a.feature_time(*p), a.id.as_str(), p).cmp(&(&b.event_type, b.partition_key().as_str(), b.feature_time(*q), b.id.as_str(), q))); print!("sort {:?} ", t.elapsed()); } for (pos, e) in &es { layout.push(&mut rows, Partition(p), *pos, e); } rows }).collect();
        encode += t.elapsed().as_secs_f64(); bytes = batches[0].bytes();
        let t = Instant::now();
        let mut tasks = Vec::new();
        for (p, rows) in batches.into_iter().enumerate() { let (s, l) = (store.clone(), layout.clone()); total += 50_000;
            tasks.push(tokio::spawn(async move { let t = Instant::now(); s.insert(&l, rows, &format!("{p}:{round}")).await.unwrap(); t.elapsed() })); }
        for task in tasks { print!("{:?} ", task.await.unwrap()); }
        println!();
        secs += t.elapsed().as_secs_f64();
    }
    println!("rows {total} bytes/row {} insert {:.0} rows/s; encode (with making events) {:.0} rows/s", bytes / 50_000, total as f64 / secs, total as f64 / encode);
}
