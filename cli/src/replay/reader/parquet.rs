//! Reads Parquet files with flat columns and decodes only the wanted ones. Times are taken as UTC and kept to the
//! millisecond.

use std::path::Path;
use std::sync::Arc;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use ::parquet::record::reader::RowIter;
use ::parquet::schema::types::Type;

use millrace_core::decimal::Decimal;
use millrace_core::expr::ExprValue;

use crate::replay::error::ReplayError;
use crate::replay::row::RowVisitor;

/// Reads these columns of every row. Returns how many rows there are.
pub fn read(path: &Path, columns: &[String], visit: RowVisitor<'_>) -> Result<u64, ReplayError> {
    let file = std::fs::File::open(path).map_err(ReplayError::file(path))?;
    let reader = SerializedFileReader::new(file).map_err(|error| ReplayError::file_content(path, error.to_string()))?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let wanted = WantedColumns::new(path, &schema, columns)?;
    let rows = RowIter::from_file_into(Box::new(reader))
        .project(Some(wanted.projection))
        .map_err(|error| ReplayError::file_content(path, error.to_string()))?;
    let mut values = vec![ExprValue::Null; columns.len()];
    let mut number = 0;
    for row in rows {
        number += 1;
        let row = row.map_err(|error| ReplayError::row_content(path, number, error.to_string()))?;
        for ((name, field), place) in row.into_columns().into_iter().zip(&wanted.places) {
            let Some(place) = *place else { continue };
            values[place] = value(field)
                .map_err(|kind| ReplayError::row_content(path, number, format!("column `{name}` holds {kind}")))?;
        }
        visit(number, &values)?;
    }
    Ok(number)
}

/// The columns to decode, in the file's order.
struct WantedColumns {
    projection: Type,
    /// For each decoded column its index among the wanted ones; None for one that only counts rows.
    places: Vec<Option<usize>>,
}

impl WantedColumns {
    fn new(path: &Path, schema: &Type, columns: &[String]) -> Result<Self, ReplayError> {
        let fields = schema.get_fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
        if let Some(missing) = columns.iter().find(|column| !names.contains(column)) {
            return Err(ReplayError::no_column(path, missing, &names));
        }
        let mut kept: Vec<Arc<Type>> = Vec::new();
        let mut places = Vec::new();
        for field in fields {
            if let Some(place) = columns.iter().position(|column| column == field.name()) {
                kept.push(Arc::clone(field));
                places.push(Some(place));
            }
        }
        // A mapping may want nothing but the row number. Some column must be decoded to count rows.
        if let (true, Some(first)) = (kept.is_empty(), fields.first()) {
            kept.push(Arc::clone(first));
            places.push(None);
        }
        let projection = Type::group_type_builder(schema.name()).with_fields(kept).build();
        let projection = projection.map_err(|error| ReplayError::file_content(path, error.to_string()))?;
        Ok(Self { projection, places })
    }
}

fn value(field: Field) -> Result<ExprValue, &'static str> {
    Ok(match field {
        Field::Null => ExprValue::Null,
        Field::Bool(value) => ExprValue::Bool(value),
        Field::Byte(value) => ExprValue::Int(value.into()),
        Field::Short(value) => ExprValue::Int(value.into()),
        Field::Int(value) => ExprValue::Int(value.into()),
        Field::Long(value) => ExprValue::Int(value),
        Field::UByte(value) => ExprValue::Int(value.into()),
        Field::UShort(value) => ExprValue::Int(value.into()),
        Field::UInt(value) => ExprValue::Int(value.into()),
        Field::ULong(value) => ExprValue::Int(i64::try_from(value).map_err(|_| "an integer past 63 bits")?),
        Field::Float16(value) => ExprValue::Float(value.to_f64()),
        // By way of its shortest text: 0.1f32 means 0.1, not 0.10000000149.
        Field::Float(value) => ExprValue::Float(value.to_string().parse().unwrap_or(f64::NAN)),
        Field::Double(value) => ExprValue::Float(value),
        Field::Decimal(decimal) => {
            let scale = u32::try_from(decimal.scale()).map_err(|_| "a decimal of negative scale")?;
            ExprValue::Decimal(Decimal { units: big_endian(decimal.data()).ok_or("a decimal past 38 digits")?, scale })
        }
        Field::Str(text) => ExprValue::Text(text),
        Field::Bytes(bytes) => match String::from_utf8(bytes.data().to_vec()) {
            Ok(text) => ExprValue::Text(text),
            Err(_) => return Err("bytes that are not UTF-8"),
        },
        Field::Date(days) => ExprValue::Time(i64::from(days) * 86_400_000),
        Field::TimeMillis(ms) => ExprValue::Int(ms.into()),
        Field::TimeMicros(us) => ExprValue::Int(us.div_euclid(1_000)),
        Field::TimestampMillis(ms) => ExprValue::Time(ms),
        Field::TimestampMicros(us) => ExprValue::Time(us.div_euclid(1_000)),
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
            return Err("a list, map or group; only flat columns can be mapped");
        }
    })
}

/// A two's complement number of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut padded = [if negative { 0xff } else { 0 }; 16];
    padded.get_mut(16usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(padded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_big_endian_twos_complement() {
        assert_eq!(big_endian(&[0x00, 0xff]), Some(255));
        assert_eq!(big_endian(&[0xff, 0x85]), Some(-123));
        assert_eq!(big_endian(&[0; 17]), None);
    }
}
