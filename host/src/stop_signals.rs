//! The signals that end a host.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask the host to stop: Ctrl-C, `kill`, and the end of the terminal that it was started from.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// None if the host was started with it ignored, as by `nohup`: then it outlives the terminal.
    hangup: Option<Signal>,
}

impl StopSignals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup })
    }

    /// Completes at the next signal.
    pub(crate) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hangup => {}
        }
    }
}

/// Whether this process was started with SIGHUP ignored: in the kernel's mask of ignored signals, the lowest bit is that
/// of signal 1, SIGHUP. False on systems without such a mask.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits & 1 == 1)
}
