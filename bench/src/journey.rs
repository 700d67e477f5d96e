//! Made-up purchases like those of the grocery data set: about 2,500 households and 30,000 products, a few of each far more
//! frequent than the rest, nine lines per receipt, one receipt after the other. The same seed gives the same purchases.

use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;

const HOUSEHOLDS: usize = 2_500;
const PRODUCTS: usize = 30_000;
const STORES: u64 = 450;
/// A receipt has this many lines on average.
const LINES: u64 = 9;
/// The data set has 1.47 million lines in a year.
const MS_PER_LINE: i64 = 21_450;
const DEPARTMENTS: [&str; 12] = [
    "GROCERY",
    "DRUG GM",
    "PRODUCE",
    "COSMETICS",
    "NUTRITION",
    "MEAT",
    "MEAT-PCKGD",
    "DELI",
    "PASTRY",
    "FLORAL",
    "SEAFOOD-PCKGD",
    "SALAD BAR",
];

/// One line of a receipt.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// Its number, of which its id is made.
    pub number: usize,
    /// The household.
    pub household: usize,
    /// The product.
    pub product: usize,
    /// The event time in epoch ms.
    pub time: i64,
    properties: String,
}

/// Purchases in the order of their times, the last of them at about the end.
pub struct Purchases {
    random: Random,
    households: Skewed,
    products: Skewed,
    left: usize,
    number: usize,
    end: i64,
    receipt: Receipt,
}

#[derive(Clone, Copy, Default)]
struct Receipt {
    number: u64,
    household: usize,
    store: u64,
    time: i64,
}

impl Purchases {
    /// `count` purchases up to `end` (epoch ms), numbered from `first`.
    pub fn new(count: usize, first: usize, end: i64) -> Self {
        Self {
            random: Random(0x9E37_79B9_7F4A_7C15 ^ first as u64),
            households: Skewed::new(HOUSEHOLDS, 0.4),
            products: Skewed::new(PRODUCTS, 0.9),
            left: count,
            number: first,
            end,
            receipt: Receipt::default(),
        }
    }

    fn next_receipt(&mut self) {
        let lines_left = i64::try_from(self.left).unwrap_or(i64::MAX);
        let household = self.households.draw(&mut self.random);
        self.receipt = Receipt {
            number: 31_000_000_000 + self.number as u64,
            household,
            // Nine of ten receipts are from the store nearby.
            store: if self.random.below(10) == 0 { self.random.below(STORES) } else { household as u64 % STORES },
            time: self.end - lines_left * MS_PER_LINE,
        };
    }
}

impl Iterator for Purchases {
    type Item = Purchase;

    fn next(&mut self) -> Option<Purchase> {
        if self.left == 0 {
            return None;
        }
        if self.receipt.number == 0 || self.random.below(LINES) == 0 {
            self.next_receipt();
        }
        let product = self.products.draw(&mut self.random);
        let properties = properties(&mut self.random, self.receipt, product);
        let Receipt { household, time, .. } = self.receipt;
        let purchase =
            Purchase { number: self.number, household: household + 1, product: 800_000 + product, time, properties };
        self.left -= 1;
        self.number += 1;
        Some(purchase)
    }
}

/// Properties in ingest's canonical form: names sorted, money as text.
fn properties(random: &mut Random, receipt: Receipt, product: usize) -> String {
    let Receipt { number, store, .. } = receipt;
    let price = 49 + random.below(120) + if random.below(5) == 0 { random.below(1_500) } else { 0 };
    let quantity = 1 + if random.below(5) == 0 { random.below(4) } else { 0 };
    let discount = if random.below(2) == 0 { random.below(100) } else { 0 };
    let brand = if product.is_multiple_of(4) { "Private" } else { "National" };
    let department = DEPARTMENTS[if product % 3 < 2 { 0 } else { product % DEPARTMENTS.len() }];
    let (reduced, discount, sales) = (discount > 0, cents(discount), cents(price * quantity));
    format!(
        r#"{{"basket_id":{number},"brand":"{brand}","coupon_disc":"0.00","coupon_match_disc":"0.00","department":"{department}","quantity":{quantity},"reduced":{reduced},"retail_disc":"{discount}","sales_value":"{sales}","store_id":{store}}}"#
    )
}

fn cents(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

impl Purchase {
    /// The entry that the log holds.
    pub fn event(&self) -> Event {
        let key = |number: usize| KeyText::from_canonical(&number.to_string());
        Event {
            event_type: "purchase".to_owned(),
            source: "completejourney".to_owned(),
            id: EventId::Given(format!("transactions-{}", self.number)),
            time: Some(self.time),
            keys: vec![("household".to_owned(), key(self.household)), ("product".to_owned(), key(self.product))],
            properties: self.properties.clone(),
            traceparent: None,
        }
    }

    /// The JSON that an app server posts.
    pub fn json(&self) -> String {
        let Self { number, household, product, time, properties } = self;
        format!(
            r#"{{"type":"purchase","source":"completejourney","id":"transactions-{number}","time":{time},"household_id":{household},"product_id":{product},"properties":{properties}}}"#
        )
    }

    /// The line for the bare forwarder: the partition, then the fields and values of the entry, between tabs.
    pub fn split(&self, partitions: u16) -> String {
        let event = self.event();
        let mut line = event.partition(partitions).to_string();
        for (name, value) in event.fields() {
            line.extend(["\t", &name, "\t", &value]);
        }
        line
    }
}

/// A profile of every household, as the log holds it.
pub fn profiles(now: i64) -> impl Iterator<Item = Event> {
    (1..=HOUSEHOLDS).map(move |household| Event {
        event_type: "demographics".to_owned(),
        source: "completejourney".to_owned(),
        id: EventId::Given(format!("demographics-{household}")),
        time: Some(now),
        keys: vec![("household".to_owned(), KeyText::from_canonical(&household.to_string()))],
        properties: format!(
            r#"{{"age":"{}5-{}4","household_size":"{}","income":"50-74K"}}"#,
            2 + household % 4,
            3 + household % 4,
            1 + household % 5
        ),
        traceparent: None,
    })
}

/// Numbers below a bound, the first ones most often: the n-th has weight n to the power of −`exponent`.
struct Skewed(Vec<f64>);

impl Skewed {
    #[expect(clippy::cast_precision_loss, reason = "a few ten thousand")]
    fn new(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let add = |rank: usize| {
            sum += (rank as f64).powf(-exponent);
            sum
        };
        Self((1..=count).map(add).collect())
    }

    #[expect(clippy::cast_precision_loss, reason = "a draw")]
    fn draw(&self, random: &mut Random) -> usize {
        let whole = self.0.last().copied().unwrap_or_default();
        let at = random.below(1 << 50) as f64 / (1u64 << 50) as f64 * whole;
        self.0.partition_point(|sum| *sum <= at).min(self.0.len() - 1)
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::{Definitions, DefinitionsSource, SchemaFile};
    use millrace_core::event::{EventForm, RawEvent};

    fn definitions() -> Definitions {
        let yaml = include_str!("../../examples/journey/millrace.yaml").to_owned();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/journey");
        let read = |SchemaFile { path, .. }| {
            let text = std::fs::read_to_string(folder.join(&path)).unwrap();
            (path, serde_json::from_str(&text).unwrap())
        };
        let schemas = DefinitionsSource::schema_files(&yaml).into_iter().map(read).collect();
        Definitions::compile(DefinitionsSource { yaml, schemas }).unwrap()
    }

    #[test]
    fn a_purchase_written_to_the_log_is_the_one_that_ingest_makes_of_its_json() {
        let definitions = definitions();
        for purchase in Purchases::new(200, 0, 1_700_000_000_000) {
            let raw = RawEvent::parse(&purchase.json(), EventForm::Nested).unwrap();
            let made = || EventId::Made("none".to_owned());
            assert_eq!(raw.validate(&definitions, 1_700_000_000_000, made).unwrap(), purchase.event());
        }
    }

    #[test]
    fn a_receipt_has_several_lines_and_few_products_are_most() {
        let all: Vec<_> = Purchases::new(20_000, 0, 0).collect();
        let receipts = all.windows(2).filter(|pair| pair[0].time != pair[1].time).count();
        assert!((1_500..3_500).contains(&receipts), "{receipts}");
        let popular = all.iter().filter(|purchase| purchase.product < 800_300).count();
        assert!((4_000..12_000).contains(&popular), "{popular}");
        assert!(all.is_sorted_by_key(|purchase| purchase.time));
    }
}
