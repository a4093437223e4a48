//! The text protocol.

use super::{Client, Play, Server, check};
use crate::protocol::{Birth, Next};

#[test]
fn commands_and_answers() {
    check(
        "one by one",
        &[
            (Client, b"set k 0 0 5\r\nhello\r\n"),
            (Server, b"STORED\r\n"),
            (Client, b"get k\r\n"),
            (Server, b"VALUE k 0 5\r\nhello\r\nEND\r\n"),
            (Client, b"gets a b k\n"),
            (Server, b"VALUE k 0 5 77\r\nhello\r\nEND\r\n"),
        ],
        &["SET", "GET hits=1", "GETS hits=1 of 3"],
    );
    check(
        "at once",
        &[
            (Client, b"add k 1 -1 2\r\n\r\n\r\ncas k 0 0 1 9\r\nx\r\ndelete k\r\nincr n 1\r\ntouch k 0\r\n"),
            (Client, b"gat 0 k l\r\nversion\r\nflush_all\r\nverbosity 1\r\nstats\r\nget k\r\n"),
            (Server, b"NOT_STORED\r\nEXISTS\r\nNOT_FOUND\r\n18446744073709551615\r\nTOUCHED\r\nEND\r\n"),
            (Server, b"VERSION 1.6.18\r\nOK\r\nOK\r\nSTAT pid 1\r\nSTAT version 1.6 a\r\nEND\r\nEND\r\n"),
        ],
        &[
            "ADD",
            "CAS",
            "DELETE",
            "INCR",
            "TOUCH",
            "GAT hits=0 of 2",
            "VERSION",
            "FLUSH_ALL",
            "VERBOSITY",
            "STATS",
            "GET hits=0",
        ],
    );
    check(
        "values that look like answers",
        &[
            (Client, b"set k 0 0 12\r\nget a\r\nEND\r\n\r\nget k b\r\n"),
            (Server, b"STORED\r\nVALUE k 0 12\r\nget a\r\nEND\r\n\r\nVALUE b 0 0\r\n\r\nEND\r\n"),
        ],
        &["SET", "GET hits=2 of 2"],
    );
    check(
        "errors",
        &[
            (
                Client,
                b"nope secret\r\nset k 0 0 5\r\n1234567\r\nincr k 1\r\nset k 0 0 9\r\n123456789\r\nget k\r\n",
            ),
            (Server, b"ERROR\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\n"),
            (Server, b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            (Server, b"SERVER_ERROR object too large for cache\r\nEND\r\n"),
        ],
        &["? ERROR", "SET CLIENT_ERROR", "? ERROR", "INCR CLIENT_ERROR", "SET SERVER_ERROR", "GET hits=0"],
    );
    check(
        "not answered",
        &[
            (Client, b"set k 0 0 1 noreply\r\nx\r\ndelete k noreply\r\nget k\r\nquit\r\n"),
            (Server, b"END\r\n"),
        ],
        &["SET silent", "DELETE silent", "QUIT silent", "GET hits=0"],
    );
}

#[test]
fn meta_commands() {
    check(
        "each",
        &[
            (
                Client,
                b"ms k 2 T0\r\nhi\r\nmg k v\r\nmg Okey\r\nmg k t Oabc\r\nmd k\r\nma n\r\nme k\r\nmn\r\n",
            ),
            (Server, b"HD\r\nVA 2\r\nhi\r\nEN\r\nHD t0 Oabc\r\nHD\r\nNF\r\nME k exp=-1 la=1\r\nMN\r\n"),
        ],
        &["MS", "MG hits=1", "MG hits=0", "MG hits=1", "MD", "MA", "ME", "MN"],
    );
    check(
        "quiet, and nothing to say",
        &[(Client, b"ms a 1 q\r\nx\r\nmg b v q\r\nmd c q\r\nmn\r\n"), (Server, b"MN\r\n")],
        &["MS silent", "MG hits=0 silent", "MD silent", "MN"],
    );
    check(
        "quiet, told apart by what they repeat",
        &[
            (Client, b"mg a v q O1\r\nmg b v q O2\r\nmg c v q O3\r\nmn\r\n"),
            (Server, b"VA 1 O2\r\nx\r\nMN\r\n"),
        ],
        &["MG hits=0 silent", "MG hits=1", "MG hits=0 silent", "MN"],
    );
}

#[test]
fn whose_it_may_be_is_not_guessed() {
    let mut play = Play::new(Birth::Seen);
    play.push(Client, b"mg a v q\r\nmg b v q\r\nmn\r\nget k\r\n");
    play.push(Server, b"VA 1\r\nx\r\nMN\r\nEND\r\n");
    assert_eq!(play.told(), ["MG silent", "MG silent", "MN", "GET hits=0"]);
    assert_eq!(play.odd.unresolved, 1);
    // The last may have had it, and would not be answered any more.
    let mut play = Play::new(Birth::Seen);
    play.push(Client, b"mg a v q\r\nmg b v\r\n");
    play.push(Server, b"VA 1\r\nx\r\n");
    assert_eq!(play.told(), ["MG NotObserved", "MG NotObserved"]);
    // It was refused, or what comes after it.
    let mut play = Play::new(Birth::Seen);
    play.push(Client, b"set k 0 0 1 noreply\r\nx\r\nget k\r\n");
    play.push(Server, b"SERVER_ERROR out of memory storing object\r\n");
    assert_eq!(play.told(), ["SET silent", "GET NotObserved"]);
}

#[test]
fn what_is_watched_is_not_read() {
    let mut play = Play::new(Birth::Seen);
    play.push(Client, b"watch fetchers\r\n");
    play.push(Server, b"OK\r\nts=1 gid=1 type=item_get key=secret\r\n");
    assert_eq!((play.next, play.close()), (Next::Opaque, vec!["WATCH".to_owned()]));
}

#[test]
fn large_values_are_skipped() {
    use crate::model::{Ktime, Side};
    use crate::protocol::Want;
    let mut play = Play::new(Birth::Seen);
    let mut out = Vec::new();
    let step = play.parser.push(Side::Client, Ktime(1), b"set k 0 0 300000\r\n", &mut out);
    assert_eq!(step.want, [Want::Skip(300_000), Want::Stream]);
    let _ = play.parser.skipped(Side::Client, Ktime(2), 300_000, &mut out);
    play.push(Client, b"\r\n");
    play.push(Server, b"STORED\r\n");
    assert_eq!(play.close(), ["SET"]);
}
