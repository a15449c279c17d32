use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn read(text: &str) -> Result<Value, What> {
    parse(text.as_bytes(), &Limits::ANSWER).and_then(|root| tree(&root)).map_err(|fault| fault.what)
}

fn canonical_of(text: &str) -> String {
    canonical(&parse_text(text, &Limits::ANSWER).unwrap(), Scope::default())
}

#[test]
fn elements_become_a_tree_by_the_rules() {
    let text = r#"<?xml version="1.0" encoding="UTF-8"?>
        <!-- prima --><p:Scheda xmlns:p="urn:p" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" versione="2">
          <p:CodiceFiscale>XXQNNA90C45E715X</p:CodiceFiscale>
          <p:Lingua livello="B1">en</p:Lingua><p:Lingua livello="C1">fr</p:Lingua>
          <p:Nota xsi:nil="true"/><p:Vuoto/>
          <p:Sede><p:Via>Via Roma &amp; C. &#x2019;1&#39;</p:Via></p:Sede>
          <p:Dati><![CDATA[<a>]]>bc<!-- no -->d</p:Dati>
        </p:Scheda>"#;
    let expected = json!({
        "@versione": "2",
        "CodiceFiscale": "XXQNNA90C45E715X",
        "Lingua": [{ "@livello": "B1", "#text": "en" }, { "@livello": "C1", "#text": "fr" }],
        "Nota": null,
        "Vuoto": "",
        "Sede": { "Via": "Via Roma & C. ’1'" },
        "Dati": "<a>bcd",
    });
    assert_eq!(read(text), Ok(expected));
}

#[test]
fn text_beside_children_is_kept() {
    assert_eq!(read("<a> x <b>1</b>\n y</a>"), Ok(json!({ "b": "1", "#text": "x \n y" })));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (text, what) in [
        (r#"<a b="1" b="2"/>"#, What::AttributeTwice),
        (r#"<a xmlns:x="u" xmlns:y="u" x:b="1" y:b="2"/>"#, What::AttributeTwice),
        (r#"<a xmlns:x="u" x:b="1" b="2"/>"#, What::NamesAlike),
        (r#"<a xmlns:x="u"><x:b>1</x:b><b>2</b></a>"#, What::NamesAlike),
        ("<a/><b/>", What::Root),
        ("<a/>text", What::Root),
        ("text", What::Root),
        ("", What::Root),
        ("<a>", What::Root),
        ("<a><b></a></b>", What::Syntax),
        ("<a b=c/>", What::Syntax),
        (r#"<a b="<"/>"#, What::Syntax),
        ("<a>&nbsp;</a>", What::Entity),
        ("<a>&#0;</a>", What::Character),
        ("<a>&#xD800;</a>", What::Character),
        ("<a>&#99999999999999999999;</a>", What::Character),
        ("<a>\u{1}</a>", What::Character),
        ("<x:a/>", What::Prefix),
        (r#"<x:a xmlns:x=""/>"#, What::Prefix),
        (r#"<a xmlns:xml="urn:another"/>"#, What::Prefix),
        (r#"<a xmlns:xmlns="urn:another"/>"#, What::Prefix),
        ("<a:b:c xmlns:a='u'/>", What::Name),
        ("<a><?php echo 1 ?></a>", What::Instruction),
        ("<?xml version='1.0' encoding='EBCDIC'?><a/>", What::EncodingUnknown),
    ] {
        assert_eq!(read(text), Err(what), "{text}");
    }
    assert_eq!(parse(b"<a>\xf2</a>", &Limits::ANSWER).unwrap_err().what, What::Encoding);
}

#[test]
fn no_document_type_is_read_and_so_no_bomb() {
    let laughs = r#"<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;&l;&l;&l;&l;&l;&l;&l;&l;">]><a>&m;</a>"#;
    let outside = r#"<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>"#;
    for text in [laughs, outside, "<!DOCTYPE a><a/>", "<!DOCTYPE a SYSTEM 'http://x.example/a.dtd'><a/>"] {
        assert_eq!(read(text), Err(What::DocumentType), "{text}");
    }
}

#[test]
fn each_limit_is_kept() {
    let limits = Limits { bytes: 400, depth: 3, elements: 5, attributes: 2, text: 20 };
    let check = |text: &str| parse_text(text, &limits).map(|_| ()).map_err(|fault| fault.what);
    assert_eq!(check("<a><b><c/></b></a>"), Ok(()));
    assert_eq!(check("<a><b><c><d/></c></b></a>"), Err(What::TooDeep(3)));
    assert_eq!(check("<a><b/><b/><b/><b/></a>"), Ok(()));
    assert_eq!(check("<a><b/><b/><b/><b/><b/></a>"), Err(What::TooManyElements(5)));
    assert_eq!(check("<a x='1' y='2'/>"), Ok(()));
    assert_eq!(check("<a x='1' y='2' xmlns='u'/>"), Err(What::TooManyAttributes(2)));
    assert_eq!(check("<a>12345678901234567890</a>"), Ok(()));
    assert_eq!(check("<a>1234567890<!-- -->12345678901</a>"), Err(What::TextTooLong(20)));
    assert_eq!(check("<a x='123456789012345678901'/>"), Err(What::TextTooLong(20)));
    assert_eq!(check("<abcdefghijklmnopqrstu/>"), Err(What::TextTooLong(20)));
    assert_eq!(check(&" ".repeat(401)), Err(What::TooLarge(400)));
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert_eq!(read(&deep), Err(What::TooDeep(32)));
}

#[test]
fn a_fault_says_the_line_and_nothing_of_the_document() {
    let fault = parse_text("<a>\n<b>\n&segreto;</b></a>", &Limits::ANSWER).unwrap_err();
    assert_eq!(fault, XmlFault { what: What::Entity, line: 3 });
    assert!(!fault.to_string().contains("segreto"));
    let shown = format!("{:?}", parse_text("<a><b>Xxquercia</b></a>", &Limits::ANSWER).unwrap());
    assert!(shown.contains("<b>") && !shown.contains("Xxquercia"), "{shown}");
}

#[test]
fn the_canonical_form_is_that_of_the_recommendation() {
    for (text, expected) in [
        ("<a  b = '1'\n a=\"2\" />", r#"<a a="2" b="1"></a>"#),
        (r#"<a b="&#9;x&#10;&quot;&apos;&lt;>"/>"#, r#"<a b="&#x9;x&#xA;&quot;'&lt;>"></a>"#),
        ("<a>&lt;&gt;&amp;&#13;\r\n</a>", "<a>&lt;&gt;&amp;&#xD;\n</a>"),
        ("<a><![CDATA[<&>]]><!-- c --></a>", "<a>&lt;&amp;&gt;</a>"),
        // Unused declarations vanish; used ones stand where they are first used.
        (
            "<a xmlns='u' xmlns:x='v' xmlns:y='w'><x:b y:c='1' d='2'/></a>",
            r#"<a xmlns="u"><x:b xmlns:x="v" xmlns:y="w" d="2" y:c="1"></x:b></a>"#,
        ),
        // The default namespace is taken away only where one was written.
        ("<a xmlns='u'><b xmlns=''><c/></b></a>", r#"<a xmlns="u"><b xmlns=""><c></c></b></a>"#),
        ("<a xmlns=''><b/></a>", "<a><b></b></a>"),
        // Attributes are ordered by their namespace, not by their prefix.
        (
            "<a xmlns:x='urn:2' xmlns:y='urn:1' x:a='1' y:a='2' a='3'/>",
            r#"<a xmlns:x="urn:2" xmlns:y="urn:1" a="3" y:a="2" x:a="1"></a>"#,
        ),
        ("<a xml:lang='it'/>", r#"<a xml:lang="it"></a>"#),
        // The same prefix for another namespace is declared again.
        (
            "<x:a xmlns:x='u'><x:b xmlns:x='v'><x:c/></x:b><x:d/></x:a>",
            r#"<x:a xmlns:x="u"><x:b xmlns:x="v"><x:c></x:c></x:b><x:d></x:d></x:a>"#,
        ),
    ] {
        assert_eq!(canonical_of(text), expected, "{text}");
    }
}

#[test]
fn a_part_is_canonical_by_itself_with_the_inclusive_prefixes_of_around_it() {
    let root =
        parse_text("<a xmlns='u' xmlns:x='v' xmlns:z='w'><x:b t='z:T'/></a>", &Limits::ANSWER).unwrap();
    let part = root.elements().next().unwrap();
    let ancestors = [&root];
    let scope = Scope { ancestors: &ancestors, inclusive: &[] };
    assert_eq!(canonical(part, scope), r#"<x:b xmlns:x="v" t="z:T"></x:b>"#);
    let scope = Scope { ancestors: &ancestors, inclusive: &["z", ""] };
    assert_eq!(canonical(part, scope), r#"<x:b xmlns="u" xmlns:x="v" xmlns:z="w" t="z:T"></x:b>"#);
}

#[test]
fn a_tree_that_no_element_can_hold_is_refused() {
    let name = || Name::new("", "urn:x", "a");
    for value in [json!([1, 2]), json!({ "b c": "1" }), json!({ "@b": { "c": "1" } }), json!({ "": "1" })] {
        assert!(element(name(), &value).is_err(), "{value}");
    }
    let value = json!({ "b": null, "c": [1, true], "@d": 2 });
    let text = canonical(&element(name(), &value).unwrap(), Scope::default());
    assert_eq!(text, r#"<a xmlns="urn:x" d="2"><c>1</c><c>true</c></a>"#);
}

fn leaf() -> impl Strategy<Value = Value> {
    proptest::string::string_regex("[ -~àèìòù€\t\n\r’]{0,12}").unwrap().prop_map(Value::String)
}

/// Trees as documents give them: no object without children, no list of one.
fn trees() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 4, |inner| {
        let name = || "[A-Za-z_][A-Za-z0-9_.-]{0,6}";
        let member = prop_oneof![
            (name(), inner.clone()),
            (name(), prop::collection::vec(inner, 2..4).prop_map(Value::Array)),
            (name().prop_map(|name| format!("@{name}")), leaf()),
        ];
        let members = prop::collection::vec(member, 1..5);
        members.prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
    })
}

proptest! {
    #[test]
    fn a_tree_comes_back_as_it_was_written(value in trees()) {
        let written = element(Name::new("p", "urn:x", "radice"), &value).unwrap();
        let text = canonical(&written, Scope::default());
        let again = parse_text(&text, &Limits { depth: 64, ..Limits::ANSWER }).unwrap();
        prop_assert_eq!(tree(&again).unwrap(), value);
        prop_assert_eq!(canonical(&again, Scope::default()), text);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, &Limits::ANSWER);
    }

    #[test]
    fn what_looks_like_xml_is_read_or_refused_and_its_canonical_form_stands(
        text in "(<[abx]:?[ab]?( [ab]='[x&;#1]{0,3}')?( xmlns(:x)?='[uv]?')?/?>|</[ab]>|[x &;#1]|<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?|\\?>|<!DOCTYPE){0,12}"
    ) {
        if let Ok(root) = parse_text(&text, &Limits::ANSWER) {
            let once = canonical(&root, Scope::default());
            let again = parse_text(&once, &Limits::ANSWER).unwrap();
            prop_assert_eq!(canonical(&again, Scope::default()), once);
        }
    }
}
