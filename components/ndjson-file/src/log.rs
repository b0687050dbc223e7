//! A file of lines: appended to, synced, rotated, and repaired after a crash.

use crate::folder::{File, Folder};

/// Bytes that are read at a time to find the end of the last whole line.
const REPAIR_BYTES: u64 = 64 << 10;

/// Digits of the number of a rotated file, so that names sort in the order of rotation. Later ones have more.
const NUMBER_DIGITS: usize = 6;

/// The file that is written, with those that it was before.
pub struct Log<F: Folder> {
    folder: F,
    name: String,
    rotate_bytes: u64,
    /// None before it is used, and after an error.
    current: Option<Current<F::File>>,
}

struct Current<F> {
    file: F,
    size: u64,
}

impl<F: Folder> Log<F> {
    /// A file of this name, which is rotated before it would have more than so many bytes; 0 for never.
    pub fn new(folder: F, name: String, rotate_bytes: u64) -> Self {
        Self { folder, name, rotate_bytes, current: None }
    }

    /// Appends whole lines, and returns when they are on the disk.
    ///
    /// # Errors
    ///
    /// What did not work. Then the lines are to be appended again, and may be in the file twice.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), String> {
        let current = match self.current.take() {
            Some(current) => current,
            None => self.open()?,
        };
        let mut current = if self.is_full(current.size, lines) { self.rotate(current)? } else { current };
        let written = write(&current.file, current.size, lines).and_then(|()| current.file.sync());
        if let Err(why) = written {
            // So that no torn line stays. If that fails as well, the next open cuts it.
            return Err(match current.file.set_size(current.size) {
                Ok(()) => why,
                Err(also) => format!("{why}; {also}"),
            });
        }
        current.size += lines.len() as u64;
        self.current = Some(current);
        Ok(())
    }

    fn is_full(&self, size: u64, lines: &[u8]) -> bool {
        self.rotate_bytes > 0 && size > 0 && size + lines.len() as u64 > self.rotate_bytes
    }

    /// Opens the file, and cuts a line that a crash has torn: its event was not acknowledged, and comes again.
    fn open(&self) -> Result<Current<F::File>, String> {
        let file = self.folder.open(&self.name)?;
        let (found, size) = (file.size()?, whole_lines(&file)?);
        if size < found {
            file.set_size(size)?;
            file.sync()?;
        }
        // The file may be new.
        self.folder.sync()?;
        Ok(Current { file, size })
    }

    fn rotate(&self, current: Current<F::File>) -> Result<Current<F::File>, String> {
        drop(current);
        let prefix = format!("{}.", self.name);
        let number = |name: &String| name.strip_prefix(&prefix)?.parse::<u64>().ok();
        let last = self.folder.names()?.iter().filter_map(number).max().unwrap_or(0);
        let next = last.checked_add(1).ok_or("there is no number after that of the last rotated file")?;
        self.folder.rename(&self.name, &format!("{prefix}{next:0NUMBER_DIGITS$}"))?;
        self.open()
    }
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &impl File) -> Result<u64, String> {
    let mut end = file.size()?;
    while end > 0 {
        let begin = end.saturating_sub(REPAIR_BYTES);
        let bytes = file.read(begin, end - begin)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

fn write(file: &impl File, mut at: u64, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let written = file.write(at, bytes)?;
        if written == 0 {
            return Err("the file takes no more bytes".to_owned());
        }
        at += written;
        bytes = usize::try_from(written).ok().and_then(|written| bytes.get(written..)).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::{File, Folder, Log, REPAIR_BYTES};

    /// A directory in memory.
    #[derive(Clone, Default)]
    struct Memory(Rc<Inner>);

    #[derive(Default)]
    struct Inner {
        files: RefCell<BTreeMap<String, Rc<RefCell<Vec<u8>>>>>,
        /// Bytes that can still be written; none for any number.
        room: Cell<Option<usize>>,
        fails_to_sync: Cell<bool>,
    }

    struct Content(Rc<RefCell<Vec<u8>>>, Memory);

    impl Memory {
        fn text(&self, name: &str) -> String {
            let files = self.0.files.borrow();
            String::from_utf8(files[name].borrow().clone()).unwrap()
        }

        fn names_of(&self) -> Vec<String> {
            self.0.files.borrow().keys().cloned().collect()
        }

        fn put(&self, name: &str, text: &str) {
            let content = Rc::new(RefCell::new(text.as_bytes().to_vec()));
            self.0.files.borrow_mut().insert(name.to_owned(), content);
        }

        fn log(&self, rotate_bytes: u64) -> Log<Self> {
            Log::new(self.clone(), "log".to_owned(), rotate_bytes)
        }
    }

    impl Folder for Memory {
        type File = Content;

        fn open(&self, name: &str) -> Result<Content, String> {
            let mut files = self.0.files.borrow_mut();
            Ok(Content(files.entry(name.to_owned()).or_default().clone(), self.clone()))
        }

        fn names(&self) -> Result<Vec<String>, String> {
            Ok(self.names_of())
        }

        fn rename(&self, from: &str, to: &str) -> Result<(), String> {
            let mut files = self.0.files.borrow_mut();
            let content = files.remove(from).ok_or("no such file")?;
            assert!(files.insert(to.to_owned(), content).is_none(), "{to} is overwritten");
            Ok(())
        }

        fn sync(&self) -> Result<(), String> {
            Ok(())
        }
    }

    impl File for Content {
        fn size(&self) -> Result<u64, String> {
            Ok(self.0.borrow().len() as u64)
        }

        fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, String> {
            let (at, length) = (usize::try_from(at).unwrap(), usize::try_from(length).unwrap());
            Ok(self.0.borrow()[at..at + length].to_vec())
        }

        /// At most two bytes at a time.
        fn write(&self, at: u64, bytes: &[u8]) -> Result<u64, String> {
            let room = self.1.0.room.get();
            let count = bytes.len().min(2).min(room.unwrap_or(2));
            if count == 0 {
                return Err("no space left".to_owned());
            }
            self.1.0.room.set(room.map(|room| room - count));
            let (mut content, at) = (self.0.borrow_mut(), usize::try_from(at).unwrap());
            content.truncate(at);
            content.extend_from_slice(&bytes[..count]);
            Ok(count as u64)
        }

        fn set_size(&self, size: u64) -> Result<(), String> {
            self.0.borrow_mut().truncate(usize::try_from(size).unwrap());
            Ok(())
        }

        fn sync(&self) -> Result<(), String> {
            if self.1.0.fails_to_sync.get() { Err("input/output error".to_owned()) } else { Ok(()) }
        }
    }

    #[test]
    fn lines_are_appended_also_after_a_restart() {
        let memory = Memory::default();
        let mut log = memory.log(0);
        log.append(b"one\ntwo\n").unwrap();
        log.append(b"three\n").unwrap();
        memory.log(0).append(b"four\n").unwrap();
        assert_eq!(memory.text("log"), "one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn a_torn_line_is_cut_before_anything_is_appended() {
        let long = "x".repeat(usize::try_from(REPAIR_BYTES).unwrap() * 2);
        for (before, kept) in [
            ("one\ntw", "one\n"),
            ("tw", ""),
            ("", ""),
            ("one\n", "one\n"),
            (&format!("one\n{long}"), "one\n"),
            (&long, ""),
            (&format!("{long}\ntw"), &format!("{long}\n")),
        ] {
            let memory = Memory::default();
            memory.put("log", before);
            memory.log(0).append(b"new\n").unwrap();
            assert_eq!(memory.text("log"), format!("{kept}new\n"));
        }
    }

    #[test]
    fn a_file_is_rotated_before_it_gets_too_large() {
        let memory = Memory::default();
        let mut log = memory.log(10);
        for line in ["12345678\n", "a\n", "b\n", "a line that is longer than a file\n", "c\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(memory.names_of(), ["log", "log.000001", "log.000002", "log.000003"]);
        assert_eq!(memory.text("log.000002"), "a\nb\n");
        assert_eq!(memory.text("log"), "c\n");
        // Numbers go on after the highest, whatever else is there.
        memory.put("log.000041", "");
        memory.put("log.txt", "");
        memory.log(1).append(b"d\n").unwrap();
        assert_eq!(memory.text("log.000042"), "c\n");
    }

    #[test]
    fn an_error_leaves_no_torn_line_and_the_lines_can_be_appended_again() {
        let memory = Memory::default();
        let mut log = memory.log(0);
        log.append(b"one\n").unwrap();
        memory.0.room.set(Some(3));
        assert!(log.append(b"two\n").unwrap_err().contains("no space left"));
        assert_eq!(memory.text("log"), "one\n");
        memory.0.room.set(None);
        memory.0.fails_to_sync.set(true);
        assert!(log.append(b"two\n").is_err());
        memory.0.fails_to_sync.set(false);
        log.append(b"two\n").unwrap();
        assert_eq!(memory.text("log"), "one\ntwo\n");
    }
}
