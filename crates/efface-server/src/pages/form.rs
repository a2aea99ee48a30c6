//! What a form sent: fields as text, files as bytes.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;

use crate::http::BodyFault;

/// Fields that a form may have.
const FIELDS_MAX: usize = 64;

/// The fields of a form. May hold ids, so it isn't `Debug`.
#[derive(Default)]
pub(crate) struct Form {
    fields: Vec<(String, Vec<u8>)>,
}

impl Form {
    /// Reads a body of either type that browsers send.
    pub(crate) async fn read(headers: &HeaderMap, body: Bytes) -> Result<Self, BodyFault> {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        match multer::parse_boundary(kind.unwrap_or_default()) {
            Ok(boundary) => Self::read_parts(&body, boundary).await,
            Err(_) => Ok(Self::parse(&body)),
        }
    }

    /// The fields of a query, or of a body in its form.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let fields = form_urlencoded::parse(text)
            .take(FIELDS_MAX)
            .map(|(name, value)| (name.into_owned(), value.into_owned().into_bytes()));
        Self {
            fields: fields.collect(),
        }
    }

    async fn read_parts(body: &[u8], boundary: String) -> Result<Self, BodyFault> {
        let mut parts = multer::Multipart::with_reader(body, boundary);
        let mut fields = Vec::new();
        while let Some(part) = parts.next_field().await.map_err(|_| BodyFault::Broken)? {
            let name = part.name().unwrap_or_default().to_owned();
            let value = part.bytes().await.map_err(|_| BodyFault::Broken)?;
            if fields.len() == FIELDS_MAX {
                return Err(BodyFault::Broken);
            }
            fields.push((name, value.to_vec()));
        }
        Ok(Self { fields })
    }

    /// The bytes of a field; none if it isn't there.
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        let field = self.fields.iter().find(|(field, _)| field == name);
        field.map_or(&[], |(_, value)| value)
    }

    /// The text of a field; empty if it isn't there or is no text.
    pub(crate) fn text(&self, name: &str) -> &str {
        std::str::from_utf8(self.bytes(name)).unwrap_or_default()
    }

    /// The number in a field.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).trim().parse().ok()
    }
}
