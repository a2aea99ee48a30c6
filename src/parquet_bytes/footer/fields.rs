//! Numbers of the fields of the footer's structures.

/// Field ids of `FileMetaData`.
pub mod file {
    #![expect(missing_docs, reason = "the names are those of parquet.thrift")]
    pub const NUM_ROWS: i16 = 3;
    pub const ROW_GROUPS: i16 = 4;
    pub const KEY_VALUES: i16 = 5;
    pub const ENCRYPTION_ALGORITHM: i16 = 8;
}

/// Field ids of `RowGroup`.
pub mod row_group {
    #![expect(missing_docs, reason = "the names are those of parquet.thrift")]
    pub const COLUMNS: i16 = 1;
    pub const TOTAL_BYTE_SIZE: i16 = 2;
    pub const NUM_ROWS: i16 = 3;
    pub const SORTING_COLUMNS: i16 = 4;
    pub const FILE_OFFSET: i16 = 5;
    pub const TOTAL_COMPRESSED_SIZE: i16 = 6;
    pub const ORDINAL: i16 = 7;
}

/// Field ids of `ColumnChunk`.
pub mod chunk {
    #![expect(missing_docs, reason = "the names are those of parquet.thrift")]
    pub const FILE_PATH: i16 = 1;
    pub const FILE_OFFSET: i16 = 2;
    pub const META_DATA: i16 = 3;
    pub const OFFSET_INDEX_OFFSET: i16 = 4;
    pub const OFFSET_INDEX_LENGTH: i16 = 5;
    pub const COLUMN_INDEX_OFFSET: i16 = 6;
    pub const COLUMN_INDEX_LENGTH: i16 = 7;
    pub const CRYPTO_METADATA: i16 = 8;
    pub const ENCRYPTED_COLUMN_METADATA: i16 = 9;
}

/// Field ids of `ColumnMetaData`.
pub mod column {
    #![expect(missing_docs, reason = "the names are those of parquet.thrift")]
    pub const TYPE: i16 = 1;
    pub const ENCODINGS: i16 = 2;
    pub const CODEC: i16 = 4;
    pub const NUM_VALUES: i16 = 5;
    pub const TOTAL_UNCOMPRESSED_SIZE: i16 = 6;
    pub const TOTAL_COMPRESSED_SIZE: i16 = 7;
    pub const KEY_VALUES: i16 = 8;
    pub const DATA_PAGE_OFFSET: i16 = 9;
    pub const INDEX_PAGE_OFFSET: i16 = 10;
    pub const DICTIONARY_PAGE_OFFSET: i16 = 11;
    pub const STATISTICS: i16 = 12;
    pub const ENCODING_STATS: i16 = 13;
    pub const BLOOM_FILTER_OFFSET: i16 = 14;
    pub const BLOOM_FILTER_LENGTH: i16 = 15;
    pub const SIZE_STATISTICS: i16 = 16;
    pub const GEOSPATIAL_STATISTICS: i16 = 17;
}

/// Field ids of `Statistics`.
pub mod statistics {
    #![expect(missing_docs, reason = "the names are those of parquet.thrift")]
    pub const MAX: i16 = 1;
    pub const MIN: i16 = 2;
    pub const NULL_COUNT: i16 = 3;
    pub const DISTINCT_COUNT: i16 = 4;
    pub const MAX_VALUE: i16 = 5;
    pub const MIN_VALUE: i16 = 6;
    pub const IS_MAX_VALUE_EXACT: i16 = 7;
    pub const IS_MIN_VALUE_EXACT: i16 = 8;
}
