use proptest::prelude::*;

use super::*;

/// People who do not exist, their codes made by another program (its name is in the file).
const GOLDEN: &str = include_str!("../../testdata/codici_fiscali.csv");

fn cf(text: &str) -> CodiceFiscale {
    text.parse().unwrap()
}

/// The same 15 characters with their right check letter, so that a test reaches the check it is about.
fn with_check(first_15: &str) -> String {
    format!("{first_15}{}", char::from(check_letter(first_15.as_bytes())))
}

fn keys(epochs: &[u16]) -> SubjectKeys {
    let key = |epoch: &u16| (*epoch, Zeroizing::new([u8::try_from(*epoch).unwrap(); 32]));
    SubjectKeys::new(epochs.iter().map(key).collect()).unwrap()
}

#[test]
fn codes_are_those_another_program_makes() {
    let mut count = 0;
    for line in GOLDEN.lines().filter(|line| !line.starts_with('#')) {
        let [surname, name, sex, birth, place, code, omocode] =
            line.split(',').collect::<Vec<_>>().try_into().unwrap();
        let birth = parse_date(birth).unwrap();
        let sex = if sex == "F" { Sex::Female } else { Sex::Male };
        let built = CodiceFiscale::build(surname, name, birth, sex, place).unwrap();
        assert_eq!(built.expose(), code, "{line}");
        assert_eq!(cf(code), built);
        assert_eq!(built.with_omocodia(7), cf(omocode), "{line}");
        assert_eq!((built.sex(), built.birthplace().as_str()), (sex, place));
        assert_eq!((cf(omocode).sex(), cf(omocode).birthplace().as_str()), (sex, place));
        assert!(built.agrees_with_birth(birth) && cf(omocode).agrees_with_birth(birth));
        assert!(built.is_synthetic() && !built.is_omocode() && cf(omocode).is_omocode());
        count += 1;
    }
    assert_eq!(count, 400);
}

#[test]
fn names_give_their_codes() {
    for (name, surname_code_is, name_code_is) in [
        ("Fo", "FOX", "FOX"),
        ("Io", "IOX", "IOX"),
        ("U", "UXX", "UXX"),
        ("Gianfranco", "GNF", "GFR"),
        ("D'Àngelo", "DNG", "DGL"),
        ("Łukasz", "LKS", "LSZ"),
        ("Maria Luisa", "MRL", "MLS"),
    ] {
        assert_eq!(surname_code(name).unwrap(), surname_code_is, "{name}");
        assert_eq!(self::name_code(name).unwrap(), name_code_is, "{name}");
    }
    for nobody in ["", " - '", "李", "Иван"] {
        assert_eq!(surname_code(nobody), None, "{nobody}");
    }
}

#[test]
fn each_way_of_being_wrong_is_told_apart() {
    for (text, fault) in [
        (String::new(), CodiceFiscaleFault::Form),
        (" XXQNNA85C52B648".to_owned(), CodiceFiscaleFault::Form),
        ("XXQNNA85C52B64èè".to_owned(), CodiceFiscaleFault::Form),
        (with_check("XXQNNAA5C52B648"), CodiceFiscaleFault::Form),
        (with_check("AXQNNA85C52B648"), CodiceFiscaleFault::Name),
        (with_check("XXQNAN85C52B648"), CodiceFiscaleFault::Name),
        (with_check("XXQNNA85F52B648"), CodiceFiscaleFault::BirthDate),
        (with_check("XXQNNA85C40B648"), CodiceFiscaleFault::BirthDate),
        (with_check("XXQNNA85C00B648"), CodiceFiscaleFault::BirthDate),
        (with_check("XXQNNA85C72B648"), CodiceFiscaleFault::BirthDate),
        (with_check("XXQNNA85B69B648"), CodiceFiscaleFault::BirthDate),
        (with_check("XXQNNA85C52N648"), CodiceFiscaleFault::Birthplace),
        (with_check("XXQNNA85C52B000"), CodiceFiscaleFault::Birthplace),
        ("XXQNNA85C52B648A".to_owned(), CodiceFiscaleFault::CheckLetter),
    ] {
        assert_eq!(text.parse::<CodiceFiscale>(), Err(fault), "{text}");
    }
    assert!(with_check("XXQNNA84B69B648").parse::<CodiceFiscale>().is_ok(), "29 February 1984");
    assert!(with_check("XXQNNA00B69B648").parse::<CodiceFiscale>().is_ok(), "29 February 2000");
}

#[test]
fn lower_case_is_read_and_nothing_is_shown() {
    let text = with_check("XXQNNA85C52B648");
    let person = cf(&text.to_lowercase());
    assert_eq!(person, cf(&text));
    assert!(!format!("{person:?}").contains("85C52"));
    let error = serde_json::from_str::<CodiceFiscale>("\"XXQNNA85C52B648A\"").unwrap_err();
    assert!(!error.to_string().contains("85C52"), "{error}");
}

#[test]
fn only_the_reserved_surname_is_synthetic() {
    assert!(cf(&with_check("XXQNNA85C52B648")).is_synthetic());
    assert!(!cf(&with_check("XQXNNA85C52B648")).is_synthetic());
}

#[test]
fn two_people_who_share_a_code_but_for_omocodia_have_different_pseudonyms() {
    let first = cf(&with_check("XXQNNA85C52B648"));
    let second = first.with_omocodia(1);
    assert_ne!(keys(&[1]).pseudonym(&first), keys(&[1]).pseudonym(&second));
}

#[test]
fn a_pseudonym_is_written_with_the_last_key_and_found_under_all() {
    let person = cf(&with_check("XXQNNA85C52B648"));
    let keys = keys(&[2, 1, 7]);
    let all = keys.all(&person);
    assert_eq!(all.first(), Some(&keys.pseudonym(&person)));
    let epochs: Vec<_> = all.iter().map(|p| p.as_str().split('.').next().unwrap()).collect();
    assert_eq!(epochs, ["s7", "s2", "s1"]);
    assert_eq!(all[2], self::keys(&[1]).pseudonym(&person));
}

#[test]
fn a_pseudonym_is_the_hmac_that_other_programs_compute() {
    // echo -n 'varco/subject/v1\0<code>' through HMAC-SHA-256 in Python's hmac, first 16 bytes in base32.
    let person = cf("XXQNNA85C52B648J");
    assert_eq!(keys(&[1]).pseudonym(&person).as_str(), "s1.q4634ealtj7nomye6r332itfha");
}

#[test]
fn a_file_of_keys_reads_back_and_its_faults_name_the_line() {
    let keys = keys(&[1, 2]);
    let text = keys.to_text();
    let again = SubjectKeys::parse(&format!("# made for a test\n\n{}", &*text)).unwrap();
    assert_eq!(again.to_text(), text);
    assert_eq!(format!("{again:?}"), "[1, 2]");
    assert_eq!(SubjectKeys::parse("# none\n").unwrap_err(), SubjectKeysFault::Empty);
    assert_eq!(SubjectKeys::parse("\n0 00").unwrap_err(), SubjectKeysFault::Line(2));
    let twice = format!("{}{}", &*text, &*text);
    assert_eq!(SubjectKeys::parse(&twice).unwrap_err(), SubjectKeysFault::EpochTwice(1));
}

#[test]
fn a_new_epoch_is_known_before_it_is_written() {
    let person = cf(&with_check("XXQNNA85C52B648"));
    let text = format!("current 1\n{}", &*keys(&[1, 2]).to_text());
    let held = SubjectKeys::parse(&text).unwrap();
    assert_eq!(held.epochs(), (1, vec![1, 2]));
    assert!(held.pseudonym(&person).as_str().starts_with("s1."));
    let found: Vec<_> =
        held.all(&person).iter().map(|p| p.as_str().split('.').next().unwrap().to_owned()).collect();
    assert_eq!(found, ["s1", "s2"], "the one that is written comes first");
    assert_eq!(SubjectKeys::parse(&held.to_text()).unwrap().epochs(), held.epochs());
    let nobody = format!("current 3\n{}", &*keys(&[1, 2]).to_text());
    assert_eq!(SubjectKeys::parse(&nobody).unwrap_err(), SubjectKeysFault::Current(3));
    assert_eq!(SubjectKeys::parse("current one\n").unwrap_err(), SubjectKeysFault::Line(1));
}

#[test]
fn keys_that_would_be_lost_are_named() {
    let (old, new) = (keys(&[1, 2]), keys(&[2, 3]));
    assert_eq!((old.missing_in(&new), new.missing_in(&old)), (vec![1], vec![3]));
    assert!(old.missing_in(&keys(&[1, 2, 3])).is_empty());
    let other = SubjectKeys::new(vec![(1, Zeroizing::new([9; 32]))]).unwrap();
    assert_eq!(keys(&[1]).missing_in(&other), [1], "the same epoch with another key");
}

#[test]
fn who_may_be_a_minor_follows_from_the_code_and_the_day() {
    let on = |text: &str| parse_date(text).unwrap();
    let of_2010 = cf(&with_check("XXQMTT10P03B648"));
    assert!(of_2010.may_be_minor(on("2026-11-23")) && of_2010.may_be_minor(on("2028-09-02")));
    assert!(!of_2010.may_be_minor(on("2028-09-03")));
    assert!(!cf(&with_check("XXQNNA85C52B648")).may_be_minor(on("2026-11-23")));
}

/// Particulars of somebody who does not exist.
fn anybody() -> impl Strategy<Value = CodiceFiscale> {
    let day = (1920_i32..2026, 1_u8..=12, 1_u8..=28);
    let place = ("[A-MZ]", 1_u16..=999);
    ("[a-z]{1,9}", day, any::<bool>(), place, 0_usize..=7).prop_map(
        |(name, (year, month, day), woman, (letter, number), omocodia)| {
            let birth = Date::from_calendar_date(year, Month::try_from(month).unwrap(), day).unwrap();
            let sex = if woman { Sex::Female } else { Sex::Male };
            let place = format!("{letter}{number:03}");
            let code = CodiceFiscale::build("Xxquercia", &name, birth, sex, &place).unwrap();
            assert!(code.agrees_with_birth(birth));
            code.with_omocodia(omocodia)
        },
    )
}

proptest! {
    #[test]
    fn what_is_built_reads_back(code in anybody()) {
        prop_assert_eq!(code.expose().parse::<CodiceFiscale>(), Ok(code));
    }

    #[test]
    fn any_single_wrong_character_is_found(code in anybody(), place in 0_usize..16, other in "[A-Z0-9]") {
        let mut text = code.expose().to_owned();
        text.replace_range(place..=place, &other);
        if text != code.expose() {
            prop_assert!(text.parse::<CodiceFiscale>().is_err());
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,20}") {
        let _ = text.parse::<CodiceFiscale>();
        let _ = SubjectKeys::parse(&text);
    }
}
