//! The settings of the component, checked.

pub(crate) const FILE: &str = "file";
pub(crate) const FILE_DEFAULT: &str = "events.ndjson";
pub(crate) const ROTATE_BYTES: &str = "rotate_bytes";

/// 256 MiB: a file that tools open with ease.
pub(crate) const ROTATE_BYTES_DEFAULT: i64 = 256 << 20;

/// Bytes of the file's name: with the number of a rotated file, it fits the 255 bytes that file systems have.
const FILE_BYTES_MAX: usize = 200;

/// The settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the file.
    pub file: String,
    /// Bytes from which on a file is rotated; 0 for never.
    pub rotate_bytes: u64,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them, and what it must be.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let file = get(FILE).unwrap_or_else(|| FILE_DEFAULT.to_owned());
        let is_name = (1..=FILE_BYTES_MAX).contains(&file.len())
            && ![".", ".."].contains(&file.as_str())
            && !file.contains('/')
            && !file.chars().any(char::is_control);
        if !is_name {
            return Err(format!(
                "`{FILE}` is {file:?}; it must be a file's name of 1 to {FILE_BYTES_MAX} bytes"
            ));
        }
        let given = get(ROTATE_BYTES).unwrap_or_else(|| ROTATE_BYTES_DEFAULT.to_string());
        let rotate_bytes = given.parse().map_err(|_| {
            format!("`{ROTATE_BYTES}` is {given}; it must be a number of bytes, or 0 for never")
        })?;
        Ok(Self { file, rotate_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn settings_are_checked() {
        let read = |file: &str, rotate: &str| {
            Settings::read(|name| Some(if name == "file" { file } else { rotate }.to_owned()))
        };
        assert_eq!(read("a.ndjson", "7"), Ok(Settings { file: "a.ndjson".into(), rotate_bytes: 7 }));
        let default = Settings::read(|_| None).unwrap();
        assert_eq!((default.file.as_str(), default.rotate_bytes), ("events.ndjson", 256 << 20));
        for file in ["", ".", "..", "../a", "/a", "a/b", "a\n", &"x".repeat(201)] {
            assert!(read(file, "0").unwrap_err().contains("a file's name"), "{file}");
        }
        assert!(read("a", "-1").unwrap_err().contains("a number of bytes"));
    }
}
