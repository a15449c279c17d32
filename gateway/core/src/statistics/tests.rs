use proptest::prelude::*;

use super::counts::{AgencyCounts, CountFault};
use super::cube::{Cube, Place, Shape};
use super::release::{Occasion, Release, Table};
use super::suppress::suppress;
use super::*;
use attacker::Attacker;

mod attacker;

const K: u32 = 5;

fn cube(classes: &[usize], counts: &[u64]) -> Cube {
    let shape = Shape::new(classes.iter().copied());
    let inner: Vec<Place> = shape
        .places()
        .filter(|place| !place.iter().enumerate().any(|(d, at)| shape.is_total(d, *at)))
        .collect();
    Cube::of(shape, inner.into_iter().zip(counts.iter().copied()))
}

fn tabulation(classes: &[usize]) -> Tabulation {
    let dimension = |(number, classes): (usize, &usize)| {
        let mut names: Vec<String> = (1..*classes).map(|class| format!("c{class}")).collect();
        names.push(UNKNOWN.to_owned());
        let field = format!("campo_{number}").parse().unwrap();
        Dimension { field, view: ViewId::whole(), classes: names }
    };
    Tabulation {
        record_type: "prova".parse().unwrap(),
        title: "Prova".into(),
        counts: "persone".into(),
        unit: Unit::HalfYear,
        threshold: K,
        dimensions: classes.iter().enumerate().map(dimension).collect(),
    }
}

fn area(owners: &[&str]) -> Area {
    Area { name: "area".into(), owners: owners.iter().map(|owner| owner.parse().unwrap()).collect() }
}

fn release(classes: &[usize], rows: Vec<(Vec<&str>, u64)>) -> Release {
    let tabulation = tabulation(classes);
    let rows = rows.into_iter().map(|(row, n)| (row.into_iter().map(str::to_owned).collect(), n));
    let counts = AgencyCounts::check(rows, &tabulation).unwrap();
    let exchange = "018f0000-0000-7000-8000-000000000001".parse().unwrap();
    let occasion =
        Occasion { exchange: &exchange, at: Timestamp::default(), period: "2026-S1".parse().unwrap() };
    Release::make(&tabulation, area(&["uno"]), vec![counts], &occasion)
}

#[test]
fn totals_are_the_sums_of_their_classes() {
    let cube = cube(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    assert_eq!(cube.counts(), [1, 2, 3, 6, 4, 5, 6, 15, 5, 7, 9, 21]);
}

#[test]
fn a_table_without_small_numbers_is_told_whole() {
    let cube = cube(&[2, 2], &[5, 6, 7, 8]);
    assert!(suppress(&cube, K).iter().all(Option::is_some));
}

#[test]
fn one_small_number_takes_others_with_it_and_the_total_stays() {
    let cube = cube(&[3, 3], &[40, 2, 30, 20, 10, 60, 70, 30, 90]);
    let told = suppress(&cube, K);
    assert_eq!(told[cube.shape.index(&[0, 1])], None);
    assert_eq!(told.iter().filter(|cell| cell.is_none()).count(), 4, "{told:?}");
    assert_eq!(told[cube.shape.index(&[3, 3])], Some(352));
}

#[test]
fn that_nobody_is_in_a_class_is_not_told_either() {
    let cube = cube(&[2], &[12, 0]);
    // 12 of 12 in one class would say that nobody is in the other.
    let told = suppress(&cube, K);
    assert_eq!(told[1], None);
    assert!(told[0].is_none() || told[2].is_none(), "{told:?}");
}

#[test]
fn of_an_empty_table_nothing_is_told() {
    let cube = cube(&[3, 2], &[0; 6]);
    assert!(suppress(&cube, K).iter().all(Option::is_none));
}

#[test]
fn a_small_table_is_a_part_of_the_large_one_and_no_other_numbers() {
    let rows =
        vec![(vec!["c1", "c1"], 40), (vec!["c1", "c2"], 2), (vec!["c2", "c1"], 20), (vec!["c2", "c2"], 30)];
    let release = release(&[3, 3], rows);
    let tabulation = release.tabulation.clone();
    let table = |fields: Option<&[FieldId]>| {
        let dimensions = Table::dimensions(&tabulation, fields).unwrap();
        Table { tabulation: &tabulation, dimensions, releases: vec![&release] }.area(&release)["rows"].clone()
    };
    let (whole, part) = (table(None), table(Some(&["campo_0".parse().unwrap()])));
    for row in part.as_array().unwrap() {
        let of = serde_json::json!([row["classes"][0], null]);
        let found = whole.as_array().unwrap().iter().find(|other| other["classes"] == of).unwrap();
        assert_eq!(found["people"], row["people"]);
    }
    let none: Vec<FieldId> = Vec::new();
    assert_eq!(table(Some(&none)).as_array().unwrap().len(), 1);
    assert!(Table::dimensions(&tabulation, Some(&["altro".parse().unwrap()])).is_err());
}

#[test]
fn areas_are_added_up_only_where_both_are_told() {
    let one = release(&[2], vec![(vec!["c1"], 40), (vec![UNKNOWN], 50)]);
    let other = release(&[2], vec![(vec!["c1"], 2), (vec![UNKNOWN], 50)]);
    let table = Table { tabulation: &one.tabulation, dimensions: vec![0], releases: vec![&one, &other] };
    let together = table.together();
    assert_eq!(together[0]["people"], serde_json::Value::Null);
    assert!(table.csv().starts_with("area;campo_0;persone\r\narea;c1;40\r\n"), "{}", table.csv());
    assert!(table.csv().contains("totale;c1;*\r\n"), "{}", table.csv());
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let tabulation = tabulation(&[3, 2]);
    let check = |rows: Vec<(Vec<&str>, u64)>| {
        let rows = rows.into_iter().map(|(row, n)| (row.into_iter().map(str::to_owned).collect(), n));
        AgencyCounts::check(rows, &tabulation).map(|_| ())
    };
    assert_eq!(check(vec![]), Ok(()));
    assert_eq!(check(vec![(vec!["c1"], 1)]), Err(CountFault::Classes));
    assert_eq!(check(vec![(vec!["c1", "c2"], 1)]), Err(CountFault::Class(2)));
    assert_eq!(check(vec![(vec!["c1", "c1"], 1), (vec!["c1", "c1"], 1)]), Err(CountFault::Twice));
    assert_eq!(check(vec![(vec!["c1", "c1"], u64::MAX)]), Err(CountFault::TooMany));
}

#[test]
fn periods_are_whole_and_over() {
    for text in ["2026", "2026-S1", "2026-S2"] {
        assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
    }
    for text in ["", "26", "2026-S3", "2026-01", "2026-01-01", "+026", "2026-s1"] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
    let halves: Vec<String> =
        "2026".parse::<Period>().unwrap().halves().iter().map(Period::to_string).collect();
    assert_eq!(halves, ["2026-S1", "2026-S2"]);
    let over = |period: &str, at: &str| period.parse::<Period>().unwrap().is_over(at.parse().unwrap());
    // Midnight in Rome, two hours before it in UTC.
    assert!(!over("2026-S1", "2026-06-30T21:59:59Z") && over("2026-S1", "2026-06-30T22:00:00Z"));
    assert!(!over("2026", "2026-12-31T22:59:59Z") && over("2026", "2026-12-31T23:00:00Z"));
}

#[test]
fn one_owners_half_year_has_one_place_whatever_the_form() {
    let of = |period: &str| {
        let mut release = release(&[2], vec![]);
        release.period = period.parse().unwrap();
        release.streams()
    };
    assert!(of("2026").contains(&of("2026-S1")[0]) && of("2026").contains(&of("2026-S2")[0]));
    assert_ne!(of("2026-S1"), of("2025-S1"));
}

#[test]
fn a_hundred_thousand_people_in_the_largest_table_take_a_moment() {
    // 8 x 8 x 6 x 2 with totals is 1701 cells; the counts fall off so that half of them are small.
    let count = |at: u64| if at.is_multiple_of(2) { at % 5 } else { 100 + at % 300 };
    let cube = cube(&[8, 8, 6, 2], &(0..768).map(count).collect::<Vec<_>>());
    let told = suppress(&cube, K);
    assert!(told.iter().flatten().all(|people| *people >= u64::from(K)));
}

#[test]
fn the_attacker_of_these_tests_finds_what_is_badly_kept_back() {
    let cube = cube(&[2, 2], &[40, 2, 30, 20]);
    let mut told: Vec<Option<u64>> = cube.counts().iter().copied().map(Some).collect();
    let small = cube.shape.index(&[0, 1]);
    told[small] = None;
    let (least, most) = Attacker::new(&cube.shape, &told).range(small);
    assert!((least - 2.0).abs() < 1e-6 && (most - 2.0).abs() < 1e-6, "{least} {most}");
    // Two in one row: their sum is told, so each is within it.
    told[cube.shape.index(&[0, 0])] = None;
    told[cube.shape.index(&[0, 2])] = None;
    told[cube.shape.index(&[2, 0])] = None;
    let (least, most) = Attacker::new(&cube.shape, &told).range(small);
    assert!(most - least < 1e-6, "the column still tells it: {least} {most}");
}

fn tables() -> impl Strategy<Value = (Vec<usize>, Vec<u64>)> {
    let shapes =
        prop::sample::select(vec![vec![4], vec![2, 2], vec![3, 3], vec![4, 2], vec![2, 2, 2], vec![3, 2, 2]]);
    shapes.prop_flat_map(|shape| {
        let cells = shape.iter().product::<usize>();
        let count = prop_oneof![3 => 0..8_u64, 2 => 5..60_u64, 1 => Just(0)];
        (Just(shape), prop::collection::vec(count, cells))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whoever_adds_and_subtracts_all_that_is_told_pins_no_number_down((classes, counts) in tables()) {
        let cube = cube(&classes, &counts);
        let told = suppress(&cube, K);
        for (at, told) in told.iter().enumerate() {
            prop_assert!(told.is_none_or(|people| people >= u64::from(K) && people == cube.counts()[at]));
        }
        let attacker = Attacker::new(&cube.shape, &told);
        for at in (0..told.len()).filter(|at| told[*at].is_none()) {
            let (least, most) = attacker.range(at);
            let true_count = cube.counts()[at] as f64;
            prop_assert!(least <= true_count + 1e-6 && true_count <= most + 1e-6);
            prop_assert!(most - least >= f64::from(K) - 1e-6, "{classes:?} {counts:?}: cell {at} is within {least} and {most}");
        }
    }
}
