//! The matrix: the fields of a record type against everybody who may ask for them under a purpose.

use serde::Serialize;

use super::{Effect, level_text};
use crate::id::{FieldId, PurposeId, RecordTypeId};
use crate::policy::{Category, Policy};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrix {
    pub record_type: RecordTypeId,
    pub purpose: PurposeId,
    pub recipients: Vec<Recipient>,
    pub rows: Vec<Row>,
}

/// One situation: a column of the agreement at a level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipient {
    pub column: String,
    pub audience: String,
    pub level: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub field: FieldId,
    pub label: String,
    pub category: Category,
    pub cells: Vec<Effect>,
}

impl Policy {
    /// What agreement and law give of a record type under a purpose, at an instant. `None` for unknown words.
    pub fn matrix(&self, record_type: &RecordTypeId, purpose: &PurposeId, now: Timestamp) -> Option<Matrix> {
        let record = self.records.iter().position(|record| record.id == *record_type)?;
        let kind = self.records.get(record)?;
        let purpose_at = self.purposes.iter().position(|found| found.id == *purpose)?;
        let epoch = self.epoch(now)?;
        let mut recipients: Vec<Recipient> = Vec::new();
        let mut rows: Vec<Row> = kind
            .fields
            .iter()
            .map(|field| Row {
                field: field.id.clone(),
                label: field.label.clone(),
                category: field.category,
                cells: Vec::new(),
            })
            .collect();
        for block in epoch.blocks(record).iter().filter(|block| block.purpose == purpose_at) {
            let (column, level) = (self.column_id(block), level_text(block.level));
            // An office that the table does not tell apart from its kind would only repeat the column.
            if recipients.iter().any(|known| known.column == column && known.level == level) {
                continue;
            }
            let audience =
                self.audiences.get(block.audience).map(super::super::Audience::text).unwrap_or_default();
            recipients.push(Recipient { column: column.to_owned(), audience, level });
            for (row, (field, cell)) in rows.iter_mut().zip(epoch.block(record, kind, block)) {
                row.cells.push(cell.effect(field));
            }
        }
        Some(Matrix { record_type: record_type.clone(), purpose: purpose.clone(), recipients, rows })
    }
}
