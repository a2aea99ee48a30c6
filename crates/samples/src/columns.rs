//! Rows to Arrow record batches.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::row::Row;

pub(crate) const DISTINCT_ID: &str = "distinct_id";
pub(crate) const TIME: &str = "time";
pub(crate) const INSERT_ID: &str = "insert_id";

/// Builders of all columns. Memory: one batch.
pub(crate) struct Columns {
    schema: SchemaRef,
    /// For a text that is put together.
    scratch: String,
    event: StringBuilder,
    distinct_id: StringBuilder,
    user_id: StringBuilder,
    device_id: StringBuilder,
    time: TimestampMicrosecondBuilder,
    insert_id: StringBuilder,
    lib: StringBuilder,
    lib_version: StringBuilder,
    os: StringBuilder,
    browser: StringBuilder,
    city: StringBuilder,
    country: StringBuilder,
    current_url: StringBuilder,
    referrer: StringBuilder,
    utm_source: StringBuilder,
    duration_ms: Int64Builder,
    price: Float64Builder,
    items: Int32Builder,
    session_id: StringBuilder,
    properties: StringBuilder,
}

impl Columns {
    pub(crate) fn new() -> Self {
        Self {
            schema: schema(),
            scratch: String::new(),
            event: StringBuilder::new(),
            distinct_id: StringBuilder::new(),
            user_id: StringBuilder::new(),
            device_id: StringBuilder::new(),
            time: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            insert_id: StringBuilder::new(),
            lib: StringBuilder::new(),
            lib_version: StringBuilder::new(),
            os: StringBuilder::new(),
            browser: StringBuilder::new(),
            city: StringBuilder::new(),
            country: StringBuilder::new(),
            current_url: StringBuilder::new(),
            referrer: StringBuilder::new(),
            utm_source: StringBuilder::new(),
            duration_ms: Int64Builder::new(),
            price: Float64Builder::new(),
            items: Int32Builder::new(),
            session_id: StringBuilder::new(),
            properties: StringBuilder::new(),
        }
    }

    /// Adds a row. The random numbers of the row are taken in the order of these calls.
    pub(crate) fn push(&mut self, mut row: Row<'_>) {
        let scratch = &mut self.scratch;
        self.event.append_value(row.name);
        let names = [
            (&mut self.distinct_id, row.distinct_id),
            (&mut self.user_id, row.user_id),
        ];
        for (column, name) in names {
            match name {
                Some(name) => column.append_value(text(scratch, |text| row.write_name(name, text))),
                None => column.append_null(),
            }
        }
        self.device_id
            .append_value(text(scratch, |text| row.write_device_id(text)));
        self.time.append_value(row.time_us());
        self.insert_id
            .append_value(text(scratch, |text| row.write_insert_id(text)));
        self.lib.append_value(row.device.platform.lib);
        self.lib_version
            .append_value(text(scratch, |text| row.write_lib_version(text)));
        self.os.append_value(row.device.os);
        self.browser.append_option(row.device.browser);
        self.city.append_value(row.person.city.name);
        self.country.append_value(row.person.city.country);
        let url = text(scratch, |text| row.write_current_url(text));
        self.current_url
            .append_option(Some(url).filter(|url| !url.is_empty()));
        self.referrer.append_option(row.referrer);
        self.utm_source.append_option(row.utm_source);
        self.duration_ms.append_option(row.duration_ms());
        self.price.append_option(row.price());
        self.items.append_value(row.items());
        self.session_id
            .append_value(text(scratch, |text| row.write_session_id(text)));
        self.properties
            .append_value(text(scratch, |text| row.write_properties(text)));
    }

    /// The rows since the last call.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.event.finish()),
            Arc::new(self.distinct_id.finish()),
            Arc::new(self.user_id.finish()),
            Arc::new(self.device_id.finish()),
            Arc::new(self.time.finish()),
            Arc::new(self.insert_id.finish()),
            Arc::new(self.lib.finish()),
            Arc::new(self.lib_version.finish()),
            Arc::new(self.os.finish()),
            Arc::new(self.browser.finish()),
            Arc::new(self.city.finish()),
            Arc::new(self.country.finish()),
            Arc::new(self.current_url.finish()),
            Arc::new(self.referrer.finish()),
            Arc::new(self.utm_source.finish()),
            Arc::new(self.duration_ms.finish()),
            Arc::new(self.price.finish()),
            Arc::new(self.items.finish()),
            Arc::new(self.session_id.finish()),
            Arc::new(self.properties.finish()),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

/// The columns of a shard. All but the time may be null, as exporters declare them; which ever are
/// stands in `data-samples/README.md`.
pub(crate) fn schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("event", DataType::Utf8, true),
        Field::new(DISTINCT_ID, DataType::Utf8, true),
        Field::new("user_id", DataType::Utf8, true),
        Field::new("device_id", DataType::Utf8, true),
        Field::new(TIME, utc, false),
        Field::new(INSERT_ID, DataType::Utf8, true),
        Field::new("lib", DataType::Utf8, true),
        Field::new("lib_version", DataType::Utf8, true),
        Field::new("os", DataType::Utf8, true),
        Field::new("browser", DataType::Utf8, true),
        Field::new("city", DataType::Utf8, true),
        Field::new("country", DataType::Utf8, true),
        Field::new("current_url", DataType::Utf8, true),
        Field::new("referrer", DataType::Utf8, true),
        Field::new("utm_source", DataType::Utf8, true),
        Field::new("duration_ms", DataType::Int64, true),
        Field::new("price", DataType::Float64, true),
        Field::new("items", DataType::Int32, true),
        Field::new("session_id", DataType::Utf8, true),
        Field::new("properties", DataType::Utf8, true),
    ]))
}

/// What `write` writes, put together in `scratch`.
fn text(scratch: &mut String, write: impl FnOnce(&mut String)) -> &str {
    scratch.clear();
    write(scratch);
    scratch
}
