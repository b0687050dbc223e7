//! The rules of the file system, tested through the kernel with real system calls.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use exesdb_test_support::Rng;
use tempfile::TempDir;

use super::bytes::PAGE;
use super::{Cut, Disk, Errno, Fault, Mount, Operation};
use crate::folder;

const CAPACITY: u64 = 1 << 20;

struct Mounted {
    mount: Mount,
    at: TempDir,
}

impl Mounted {
    fn new() -> Self {
        let at = folder();
        Self { mount: Mount::new(&Disk::new(CAPACITY), at.path()), at }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> File {
        let mut file = File::create(self.path(name)).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
    }

    fn sync(&self, name: &str) {
        File::open(self.path(name)).unwrap().sync_all().unwrap();
    }

    fn cut(&self, cut: Cut, seed: u64) {
        self.mount.while_unmounted(|disk| disk.cut(cut, &mut Rng::with_seed(seed)));
    }

    fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn files_and_folders_behave_as_on_any_file_system() {
    let mounted = Mounted::new();
    fs::create_dir_all(mounted.path("a/b")).unwrap();
    mounted.write("a/b/file", b"hello");
    let mut file = OpenOptions::new().append(true).read(true).open(mounted.path("a/b/file")).unwrap();
    file.write_all(b", world").unwrap();
    file.seek(SeekFrom::Start(7)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "world");
    file.set_len(3).unwrap();
    file.set_len(6).unwrap();
    assert_eq!(mounted.read("a/b/file").unwrap(), b"hel\0\0\0");
    file.try_lock().unwrap();
    assert!(File::open(mounted.path("a/b/file")).unwrap().try_lock().is_err());
    fs::rename(mounted.path("a/b/file"), mounted.path("a/other")).unwrap();
    assert_eq!(mounted.names("a"), ["b", "other"]);
    assert_eq!(fs::remove_dir(mounted.path("a")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    fs::remove_dir(mounted.path("a/b")).unwrap();
    fs::remove_file(mounted.path("a/other")).unwrap();
    // An open file outlives its name.
    assert_eq!(file.metadata().unwrap().len(), 6);
    assert_eq!(mounted.mount.disk().used(), PAGE as u64);
    drop(file);
    UnixListener::bind(mounted.path("socket")).unwrap();
    fs::create_dir(mounted.path("many")).unwrap();
    for number in 0..500 {
        mounted.write(&format!("many/{number}"), b"");
    }
    assert_eq!(mounted.names("many").len(), 500);
    fs::remove_dir_all(mounted.path("many")).unwrap();
    assert_eq!(mounted.names(""), ["a", "socket"]);
}

#[test]
fn large_and_scattered_writes_are_read_back() {
    let mounted = Mounted::new();
    let mut random = Rng::with_seed(1);
    let mut expected = vec![0; 300_000];
    let file = mounted.write("file", &expected);
    for _ in 0..200 {
        let (start, length) = (random.u64(..250_000) as usize, 1 + random.u64(..20_000) as usize);
        let byte = random.u8(..);
        expected[start..start + length].fill(byte);
        file.write_all_at(&vec![byte; length], start as u64).unwrap();
    }
    assert!(mounted.read("file").unwrap() == expected);
    file.sync_data().unwrap();
    mounted.sync("");
    drop(file);
    mounted.cut(Cut::Unsynced, 1);
    assert!(mounted.read("file").unwrap() == expected);
}

#[test]
fn changes_without_a_sync_are_lost() {
    let mounted = Mounted::new();
    let file = mounted.write("synced", b"old");
    file.sync_all().unwrap();
    file.write_all_at(b"new and longer", 0).unwrap();
    mounted.write("unsynced", b"x");
    fs::create_dir(mounted.path("folder")).unwrap();
    assert_eq!(mounted.read("synced").unwrap(), b"new and longer");
    drop(file);
    mounted.cut(Cut::Unsynced, 1);
    assert_eq!(mounted.names(""), ["synced"]);
    assert_eq!(mounted.read("synced").unwrap(), b"old");
    assert_eq!(mounted.mount.disk().used(), PAGE as u64);
}

#[test]
fn a_name_without_its_data_is_an_empty_file() {
    let mounted = Mounted::new();
    mounted.write("file", b"data");
    mounted.sync("");
    mounted.cut(Cut::Unsynced, 1);
    assert_eq!(mounted.read("file").unwrap(), b"");
}

#[test]
fn a_synced_file_keeps_its_name_and_the_folders_above() {
    let mounted = Mounted::new();
    fs::create_dir_all(mounted.path("a/b")).unwrap();
    fs::create_dir(mounted.path("c")).unwrap();
    mounted.write("a/b/other", b"x");
    mounted.write("a/b/file", b"data").sync_all().unwrap();
    mounted.cut(Cut::Unsynced, 1);
    assert_eq!(mounted.names(""), ["a"]);
    assert_eq!(mounted.names("a/b"), ["file"]);
    assert_eq!(mounted.read("a/b/file").unwrap(), b"data");
}

#[test]
fn a_rename_and_a_removal_are_durable_after_a_sync_of_the_folder() {
    for synced in [false, true] {
        let mounted = Mounted::new();
        for name in ["current", "gone"] {
            mounted.write(name, b"old").sync_all().unwrap();
        }
        mounted.write("temporary", b"new").sync_all().unwrap();
        fs::rename(mounted.path("temporary"), mounted.path("current")).unwrap();
        fs::remove_file(mounted.path("gone")).unwrap();
        // The file under its new name is synced, which is not the folder.
        mounted.sync("current");
        if synced {
            mounted.sync("");
        }
        mounted.cut(Cut::Unsynced, 1);
        let (names, content): (&[&str], _) =
            if synced { (&["current"], b"new") } else { (&["current", "gone", "temporary"], b"old") };
        assert_eq!(mounted.names(""), names);
        assert_eq!(mounted.read("current").unwrap(), content);
    }
}

#[test]
fn a_rename_between_folders_is_atomic() {
    for synced in ["from", "to"] {
        let mounted = Mounted::new();
        fs::create_dir(mounted.path("from")).unwrap();
        fs::create_dir(mounted.path("to")).unwrap();
        mounted.write("to/file", b"replaced").sync_all().unwrap();
        fs::remove_file(mounted.path("to/file")).unwrap();
        mounted.write("from/file", b"data").sync_all().unwrap();
        fs::rename(mounted.path("from/file"), mounted.path("to/file")).unwrap();
        mounted.sync(synced);
        mounted.cut(Cut::Unsynced, 1);
        assert_eq!(mounted.names("from"), [""; 0], "{synced}");
        assert_eq!(mounted.read("to/file").unwrap(), b"data", "{synced}");
    }
}

#[test]
fn a_reused_name_belongs_to_the_last_file() {
    let mounted = Mounted::new();
    mounted.write("file", b"first").sync_all().unwrap();
    fs::remove_file(mounted.path("file")).unwrap();
    mounted.write("file", b"second").sync_all().unwrap();
    mounted.cut(Cut::Unsynced, 1);
    assert_eq!(mounted.read("file").unwrap(), b"second");
}

#[test]
fn a_cut_keeps_pages_at_random() {
    let (mut kept, mut lost, mut sizes) = (0, 0, std::collections::BTreeSet::new());
    for seed in 0..20 {
        let mounted = Mounted::new();
        let file = mounted.write("file", &[1; 8 * PAGE]);
        file.sync_all().unwrap();
        file.write_all_at(&[2; 16 * PAGE], 0).unwrap();
        drop(file);
        mounted.cut(Cut::Pages, seed);
        let bytes = mounted.read("file").unwrap();
        sizes.insert(bytes.len());
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            let old = if number < 8 { 1 } else { 0 };
            assert!(page.iter().all(|byte| *byte == page[0]), "pages are kept whole");
            assert!([2, old].contains(&page[0]), "{number}: {}", page[0]);
            if page[0] == 2 { kept += 1 } else { lost += 1 }
        }
    }
    assert!(kept > 0 && lost > 0, "{kept} {lost}");
    assert_eq!(sizes, [8 * PAGE, 16 * PAGE].into());
}

#[test]
fn a_cut_keeps_a_prefix_of_the_changes_of_names() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let mounted = Mounted::new();
        fs::create_dir(mounted.path("folder")).unwrap();
        mounted.write("folder/file", b"x");
        fs::rename(mounted.path("folder"), mounted.path("renamed")).unwrap();
        mounted.cut(Cut::Pages, seed);
        let inside = |name: &str| if mounted.path(name).exists() { mounted.names(name) } else { vec![] };
        seen.insert((mounted.names(""), inside("folder"), inside("renamed")));
    }
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let expected = [
        (names(&[]), names(&[]), names(&[])),
        (names(&["folder"]), names(&[]), names(&[])),
        (names(&["folder"]), names(&["file"]), names(&[])),
        (names(&["renamed"]), names(&[]), names(&["file"])),
    ];
    assert_eq!(seen, expected.into());
}

#[test]
fn a_cut_tears_the_last_writes_at_sectors() {
    let mut torn = 0;
    for seed in 0..20 {
        let mounted = Mounted::new();
        let file = mounted.write("file", &[1; 4 * PAGE]);
        file.sync_all().unwrap();
        for page in 0..4 {
            file.write_all_at(&[2; PAGE], page * PAGE as u64).unwrap();
        }
        drop(file);
        mounted.cut(Cut::Torn, seed);
        let bytes = mounted.read("file").unwrap();
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        // Pages before the first torn one are intact.
        let first_old = sectors.iter().position(|byte| *byte == 1);
        torn += usize::from(first_old.is_some());
    }
    assert!(torn > 10, "{torn}");
}

#[test]
fn a_cut_of_renames_drops_nothing_else() {
    let mounted = Mounted::new();
    mounted.write("current", b"old").sync_all().unwrap();
    mounted.write("temporary", b"new");
    fs::rename(mounted.path("temporary"), mounted.path("current")).unwrap();
    mounted.write("created", b"data");
    mounted.cut(Cut::Renames, 1);
    assert_eq!(mounted.names(""), ["created", "current", "temporary"]);
    assert_eq!(mounted.read("current").unwrap(), b"old");
    assert_eq!(mounted.read("temporary").unwrap(), b"new");
    assert_eq!(mounted.read("created").unwrap(), b"data");
}

#[test]
fn only_the_chosen_operation_fails() {
    let mounted = Mounted::new();
    fs::create_dir(mounted.path("store")).unwrap();
    let disk = mounted.mount.disk();
    let fault = |operation, errno| Fault { operation, errno, after: 1, times: 1 };
    disk.fail("store", fault(Operation::Write, Errno::NoSpace));
    disk.fail("store", fault(Operation::Sync, Errno::Io));
    let mut file = mounted.write("store/file", b"1");
    // Operations in other folders neither fail nor count.
    let mut elsewhere = mounted.write("elsewhere", b"1");
    elsewhere.write_all(b"2").unwrap();
    elsewhere.sync_all().unwrap();
    assert_eq!(file.write_all(b"2").unwrap_err().raw_os_error(), Some(28));
    file.write_all(b"3").unwrap();
    file.sync_all().unwrap();
    file.write_all(b"4").unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    // The pages of the failed sync count as clean from now on, and are visible while the kernel caches them.
    file.sync_all().unwrap();
    assert_eq!(disk.heal(), 2);
    assert_eq!(mounted.read("store/file").unwrap(), b"134");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(mounted.read("store/file").unwrap(), b"13\0");
    drop((file, elsewhere));
    mounted.cut(Cut::Unsynced, 1);
    assert_eq!(mounted.read("store/file").unwrap(), b"13\0");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    let mounted = Mounted::new();
    let free = || {
        let space = rustix::fs::statvfs(mounted.at.path()).unwrap();
        (space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize)
    };
    assert_eq!(free(), (CAPACITY, CAPACITY));
    let mut file = mounted.write("file", &vec![1; CAPACITY as usize]);
    assert_eq!(free(), (CAPACITY, 0));
    assert_eq!(file.write_all(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    // Existing pages can be overwritten, and holes take no space.
    file.write_all_at(b"y", 7).unwrap();
    mounted.write("hole", b"").set_len(64 << 20).unwrap();
    mounted.mount.disk().set_capacity(2 * CAPACITY);
    file.write_all(b"x").unwrap();
    drop(file);
    fs::remove_file(mounted.path("file")).unwrap();
    assert_eq!(free(), (2 * CAPACITY, 2 * CAPACITY));
}

#[test]
fn damage_at_rest_is_visible_and_durable() {
    let mounted = Mounted::new();
    fs::create_dir(mounted.path("store")).unwrap();
    let file = mounted.write("store/file", &[7; PAGE + 10]);
    file.write_all_at(&[7; 5], 4 * PAGE as u64).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let copy = mounted.mount.while_unmounted(|disk| {
        let copy = disk.copy();
        let extents: Vec<_> =
            disk.extents(Path::new("store")).into_iter().map(|e| (e.offset, e.length)).collect();
        assert_eq!(extents, [(0, 2 * PAGE as u64), (4 * PAGE as u64, 5)]);
        disk.flip(Path::new("store/file"), PAGE as u64 + 3, 0x81);
        disk.truncate(Path::new("store/file"), PAGE as u64 + 5);
        disk.cut(Cut::Unsynced, &mut Rng::with_seed(1));
        copy
    });
    let bytes = mounted.read("store/file").unwrap();
    assert_eq!((bytes.len(), &bytes[PAGE..]), (PAGE + 5, &[7, 7, 7, 0x86, 7][..]));
    drop(mounted);
    let at = folder();
    let mount = Mount::new(&copy, at.path());
    assert_eq!(fs::read(at.path().join("store/file")).unwrap().len(), 4 * PAGE + 5);
    drop(mount);
}

#[test]
fn power_loss_reveals_a_false_fsync() {
    let mounted = Mounted::new();
    fs::create_dir(mounted.path("store")).unwrap();
    let mut file = mounted.write("store/file", b"1");
    file.sync_all().unwrap();
    mounted.mount.disk().lie("store");
    file.write_all(b"2").unwrap();
    file.sync_all().unwrap();
    mounted.write("elsewhere", b"3").sync_all().unwrap();
    drop(file);
    mounted.cut(Cut::Unsynced, 1);
    assert_eq!(mounted.read("store/file").unwrap(), b"1");
    assert_eq!(mounted.read("elsewhere").unwrap(), b"3");
}

#[test]
fn a_sync_that_a_power_loss_interrupts_does_not_return_and_is_not_durable() {
    let mounted = Mounted::new();
    let file = mounted.write("file", b"old");
    file.sync_all().unwrap();
    file.write_all_at(b"new", 0).unwrap();
    let disk = mounted.mount.disk();
    disk.syncs_take(std::time::Duration::from_millis(20));
    let syncing = std::thread::spawn(move || file.sync_all());
    disk.power_goes(|| {
        std::thread::sleep(std::time::Duration::from_millis(60));
        assert!(!syncing.is_finished());
    });
    assert_eq!(syncing.join().unwrap().unwrap_err().raw_os_error(), Some(5));
    disk.power_returns();
    mounted.cut(Cut::Unsynced, 1);
    assert_eq!(mounted.read("file").unwrap(), b"old");
    mounted.write("file", b"newer").sync_all().unwrap();
}
