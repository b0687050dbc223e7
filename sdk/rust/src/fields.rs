//! Encodes values as fields: whole numbers are big-endian, texts and bytes are preceded by their length.
//!
//! A value begins with a format byte, which the caller writes and checks, so that a later version of a component can
//! distinguish old values from new ones.

/// Writes fields, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty value with a capacity in bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Four bytes of length, big-endian, then the bytes.
    ///
    /// # Panics
    ///
    /// If there are 4 GiB or more, which a component cannot hold in memory.
    pub fn bytes(&mut self, value: &[u8]) {
        let length = u32::try_from(value.len()).expect("a component's memory is smaller than 4 GiB");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// Two bytes of length, big-endian, then the text.
    ///
    /// # Panics
    ///
    /// If the text has 64 KiB or more: the caller must check its length.
    pub fn text(&mut self, value: &str) {
        let length =
            u16::try_from(value.len()).expect("the length of a text is checked before it is written");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// The value.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The reason why bytes are not a value of these fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The value ends within a field.
    Short,
    /// A text is not UTF-8.
    NotText,
    /// Bytes follow the last field.
    Long,
    /// The format byte is not one that this version knows.
    Format(u8),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => formatter.write_str("it ends within a field"),
            Self::NotText => formatter.write_str("a text in it is not UTF-8"),
            Self::Long => formatter.write_str("bytes follow its last field"),
            Self::Format(byte) => write!(formatter, "its format is {byte}, which this version does not know"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Reads fields in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads from the beginning of a value.
    #[must_use]
    pub fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// Reads the format byte.
    ///
    /// # Errors
    ///
    /// [`Malformed::Format`] if it is another one, [`Malformed::Short`] if there is none.
    pub fn format(&mut self, known: u8) -> Result<(), Malformed> {
        match self.u8()? {
            byte if byte == known => Ok(()),
            byte => Err(Malformed::Format(byte)),
        }
    }

    /// One byte.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Eight bytes, big-endian.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Bytes with their length in four.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).map_err(|_| Malformed::Short)?)
    }

    /// A text with its length in two bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`] and [`Malformed::NotText`].
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = u16::from_be_bytes(self.array()?);
        str::from_utf8(self.take(length.into())?).map_err(|_| Malformed::NotText)
    }

    /// Checks that no bytes follow the last field.
    ///
    /// # Errors
    ///
    /// [`Malformed::Long`] if there are any.
    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Long) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many bytes were taken"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Encoder, Malformed};

    fn value() -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.u8(1);
        encoder.u64(258);
        encoder.text("naïve");
        encoder.bytes(&[9, 8]);
        encoder.finish()
    }

    fn read(value: &[u8]) -> Result<(u64, String, Vec<u8>), Malformed> {
        let mut decoder = Decoder::new(value);
        decoder.format(1)?;
        let fields = (decoder.u64()?, decoder.text()?.to_owned(), decoder.bytes()?.to_owned());
        decoder.end()?;
        Ok(fields)
    }

    #[test]
    fn written_fields_are_read_back() {
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 6];
        expected.extend_from_slice("naïve".as_bytes());
        expected.extend_from_slice(&[0, 0, 0, 2, 9, 8]);
        assert_eq!(value(), expected);
        assert_eq!(read(&value()), Ok((258, "naïve".into(), vec![9, 8])));
    }

    #[test]
    fn truncated_and_extended_values_are_errors() {
        let whole = value();
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Err(Malformed::Short), "{length}");
        }
        assert_eq!(read(&[&whole[..], &[0]].concat()), Err(Malformed::Long));
    }

    #[test]
    fn invalid_lengths_and_texts_are_errors() {
        let mut other_format = value();
        other_format[0] = 9;
        assert_eq!(read(&other_format), Err(Malformed::Format(9)));
        let mut long = value();
        long[9] = 0xff;
        assert_eq!(read(&long), Err(Malformed::Short));
        let mut not_text = value();
        not_text[13] = 0xff;
        assert_eq!(read(&not_text), Err(Malformed::NotText));
    }
}
