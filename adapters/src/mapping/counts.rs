//! Where a database counts people:
//!
//! ```text
//! [conteggio progetto_personalizzato]
//! da       = statistica.vw_progetti      # one row for each person and period
//! soggetto = COD_FISC
//! periodo  = PERIODO                     # 2026-S1 or 2026, as the tabulation says
//! dimensione     | colonna
//! livello_equipe | LIVELLO               # the class itself; what is none counts as `non_noto`
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use varco_core::id::RecordTypeId;
use varco_core::policy::fault::{Faults, Problem};
use varco_core::policy::record::RecordType;
use varco_core::policy::text::Section;

use crate::counting::CountView;

pub fn read(
    section: &Section,
    records: &[Arc<RecordType>],
    views: &mut BTreeMap<RecordTypeId, CountView>,
    faults: &mut Faults,
) {
    section.allow(&["da", "periodo", "soggetto"], &["dimensione", "colonna"], faults);
    let Some(record) = records.iter().find(|record| record.id.as_str() == section.name.text) else {
        let known = records.iter().map(|record| record.id.as_str());
        faults.unknown(&section.name.place, "record type", &section.name.text, known);
        return;
    };
    let mut word = |name| section.required(name, faults).map(|word| word.text.clone());
    let (from, subject, period) = (word("da"), word("soggetto"), word("periodo"));
    let mut columns = BTreeMap::new();
    for row in &section.rows {
        let dimension = section.required_cell(row, "dimensione", faults);
        let column = section.required_cell(row, "colonna", faults);
        let (Some(dimension), Some(column)) = (dimension, column) else { continue };
        let Some(field) = record.fields.iter().find(|field| field.id.as_str() == dimension.text) else {
            let known = record.fields.iter().map(|field| field.id.as_str());
            faults.unknown(&dimension.place, "field", &dimension.text, known);
            continue;
        };
        if columns.insert(field.id.clone(), column.text.clone()).is_some() {
            let place = section.kind.place.to_string();
            faults.add(&dimension.place, Problem::Duplicate(dimension.text.clone(), place));
        }
    }
    let (Some(from), Some(subject), Some(period)) = (from, subject, period) else { return };
    let view = CountView { from, subject, period, columns };
    if views.insert(record.id.clone(), view).is_some() {
        let what = format!("[conteggio {}]", record.id);
        faults.add(&section.kind.place, Problem::Duplicate(what, "the same files".to_owned()));
    }
}
