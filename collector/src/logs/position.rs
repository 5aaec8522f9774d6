//! Which file, and how far it was read: what a mark in the spool says, so that a restart goes on at the exact byte.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

use serde::{Deserialize, Serialize};

/// So many first bytes tell a file from another that took its inode, or from itself after truncation.
const HEAD_BYTES: u64 = 256;

/// A file, whatever its name is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

impl FileId {
    /// Of an open file.
    pub fn of(metadata: &std::fs::Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    /// The key of its mark.
    pub fn key(self) -> String {
        format!("log:{}:{}", self.device, self.inode)
    }

    /// From the key of a mark.
    pub fn from_key(key: &str) -> Option<FileId> {
        let (device, inode) = key.strip_prefix("log:")?.split_once(':')?;
        Some(FileId { device: device.parse().ok()?, inode: inode.parse().ok()? })
    }
}

/// How far a file was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The pattern that named it, as configured.
    pub pattern: String,
    /// Bytes whose records are in the spool.
    pub offset: u64,
    /// How many first bytes `head_crc` is of; at most 256 and never past `offset`.
    pub head_bytes: u64,
    /// CRC32C of them.
    pub head_crc: u32,
}

impl Position {
    /// A position in an open file.
    pub fn at(file: &File, pattern: &str, offset: u64) -> io::Result<Position> {
        let head_bytes = offset.min(HEAD_BYTES);
        Ok(Position { pattern: pattern.into(), offset, head_bytes, head_crc: head_crc(file, head_bytes)? })
    }

    /// Whether the file still begins as it did and reaches as far: else it was truncated, or is another one.
    pub fn still_fits(&self, file: &File, length: u64) -> io::Result<bool> {
        Ok(self.offset <= length && head_crc(file, self.head_bytes)? == self.head_crc)
    }

    /// The value of its mark.
    pub fn to_value(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // plain numbers and text
    }

    /// From the value of a mark.
    pub fn from_value(value: &str) -> Option<Position> {
        serde_json::from_str(value).ok()
    }
}

fn head_crc(file: &File, bytes: u64) -> io::Result<u32> {
    let mut head = vec![0; bytes as usize];
    file.read_exact_at(&mut head, 0)?;
    Ok(crc32c::crc32c(&head))
}
