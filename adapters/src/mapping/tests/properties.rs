//! What holds for every text and every tree.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn any_tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}".prop_map(Value::from),
    ];
    let names =
        prop::sample::select(vec!["COD_FISC", "DT_NASC", "righe", "REL", "CF_COMP", "TEL", "VIA", "SESSO"]);
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..8).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

static MAPPINGS: LazyLock<Mappings> = LazyLock::new(|| mappings(REGISTRY));

proptest! {
    #[test]
    fn any_tree_gives_a_record_of_its_type_or_faults(tree in any_tree()) {
        let mapping = of(&MAPPINGS, "anagrafica_nucleo");
        match read(mapping, &tree) {
            Ok(mapped) => prop_assert!(mapping.record.check(Value::Object(mapped.fields)).is_ok()),
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
    }

    #[test]
    fn any_bytes_are_a_mapping_file_or_faults(text in "(?s)(\\[mappatura anagrafica_nucleo\\]\nfonte \\| campo \\| lettura\n)?.{0,200}") {
        let _ = Mappings::read(&[("m".to_owned(), text.into_bytes())], records(), &[]);
    }

    #[test]
    fn a_path_that_is_read_prints_itself(text in "[A-Z]{1,4}(\\.[a-z]{1,4}|\\[\\]|\\[[0-9]\\]|\\[a\\.b=x:/1\\]){0,4}") {
        let path = path::Path::parse(&text).unwrap();
        prop_assert_eq!(path::Path::parse(&path.to_string()).unwrap(), path);
    }

    #[test]
    fn amounts_survive_the_way_there_and_back(cents in 0_i64..10_000_000_000) {
        let mappings = mappings("[mappatura condizione_economica_prestazioni]\nfonte | campo | lettura\nA | isee_valore | decimale(,)\nB | patrimonio_mobiliare | diviso(100)\n");
        let mapping = of(&mappings, "condizione_economica_prestazioni");
        let tree = json!({"A": format!("{},{:02}", cents / 100, cents % 100), "B": cents});
        let mapped = read(mapping, &tree).unwrap();
        prop_assert_eq!(&mapped.fields["isee_valore"], &mapped.fields["patrimonio_mobiliare"]);
        let written = mapping.write(&mapped.fields, &person()).unwrap().tree;
        prop_assert_eq!(&written["A"], &tree["A"]);
        prop_assert_eq!(&written["B"], &json!(cents.to_string()));
    }

    #[test]
    fn dates_survive_the_way_there_and_back(year in 1900..2100_i32, month in 1..=12_u8, day in 1..=28_u8) {
        let mappings = mappings("[mappatura collocamento_mirato]\nfonte | campo | lettura\nA | data_iscrizione | data(GG.MM.AAAA)\n");
        let mapping = of(&mappings, "collocamento_mirato");
        let tree = json!({"A": format!("{day:02}.{month:02}.{year}")});
        let mapped = read(mapping, &tree).unwrap();
        prop_assert_eq!(&mapping.write(&mapped.fields, &person()).unwrap().tree, &tree);
    }
}
