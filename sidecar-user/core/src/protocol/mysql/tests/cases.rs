//! What the recordings have not: written by hand, by the packets that MySQL's documentation shows.

use super::super::{open, session};
use super::script::{
    Do, answer, answer_from, check_shown, command, packet, run, run_pieces, system, written,
};
use crate::model::{DbSystem, Ktime, Side};
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Want};

const OK: &[u8] = b"\x00\x00\x00\x02\x00\x00\x00";
const OK_MORE: &[u8] = b"\x00\x00\x00\x0a\x00\x00\x00";
const EOF: &[u8] = b"\xfe\x00\x00\x02\x00";
const COLUMN: &[u8] = b"\x03def\x00\x00\x00\x01a\x00\x0c\x3f\x00\x01\x00\x00\x00\x03\x81\x00\x00\x00\x00";
const CLOSED: Do = Do::Close(Close::Closed);

const SSL: u32 = 1 << 11;
const COMPRESS: u32 = 1 << 5;
/// Protocol 4.1 and its passwords.
const USUAL: u32 = 1 << 9 | 1 << 15;

fn greeting(version: &str) -> Do {
    let mut payload = [b"\x0a", version.as_bytes(), b"\0\x01\x00\x00\x0012345678\0"].concat();
    // All that is asked for below, and a nonce of 21 bytes.
    payload.extend(b"\xff\xff\x2d\x02\x00\xff\xff\x15");
    payload.extend([0; 10]);
    payload.extend(b"123456789012\0mysql_native_password\0");
    Do::Push(Side::Server, packet(0, &payload))
}

fn login(capabilities: u32) -> Do {
    let fixed = [&capabilities.to_le_bytes()[..], &[0, 0, 0, 1, 45], &[0; 23]].concat();
    let user: &[u8] = if capabilities & SSL == 0 { b"me\0\0" } else { b"" };
    Do::Push(Side::Client, packet(1, &[&fixed, user].concat()))
}

/// A connection whose login is over, and what comes then.
fn session(rest: &[Do]) -> Vec<Do> {
    [&[greeting("8.0.36"), login(USUAL), answer_from(2, &[OK])], rest].concat()
}

fn check(name: &str, script: &[Do], birth: Birth, exchanges: &[&str], odd: Oddities, next: Next) {
    for size in [usize::MAX, 1, 3, 50] {
        let run = run_pieces(script, birth, &Limits::default(), |bytes| size.min(bytes.len()));
        let told: Vec<String> = run.exchanges.iter().map(written).collect();
        assert_eq!(told, exchanges, "{name}, in pieces of {size}");
        assert_eq!((run.odd, run.next), (odd, next), "{name}, in pieces of {size}");
        check_shown(&run, birth, name);
    }
}

fn check_session(name: &str, rest: &[Do], exchanges: &[&str]) {
    check(name, &session(rest), Birth::Seen, exchanges, Oddities::default(), Next::Continue);
}

const SELECT: &[u8] = b"\x03select a from t";

#[test]
fn commands_and_their_answers() {
    let rows: &[&[u8]] = &[b"\x01", COLUMN, EOF, b"\x011", b"\xfb", EOF];
    check_session(
        "rows",
        &[command(SELECT), answer(rows)],
        &["SELECT t (SELECT) on t -> 2 rows 20/61 @4 4 5 5"],
    );
    let attributed = b"\x03\x01\x01\x00\x01\xfd\x00\x05trace\x03abcselect a from t";
    check_session(
        "attributes of a query are no part of it",
        &[command(attributed), answer(rows)],
        &["SELECT t (SELECT) on t -> 2 rows 36/61 @4 4 5 5"],
    );
    let failed: &[&[u8]] = &[b"\x01", COLUMN, EOF, b"\x011", b"\xff\x25\x05#70100interrupted"];
    check_session(
        "an error among the rows",
        &[command(SELECT), answer(failed)],
        &["SELECT t (SELECT) on t -> error 1317 1 rows 20/71 @4 4 5 5"],
    );
    let progress: &[&[u8]] = &[b"\xff\xff\xff\x01\x01\x03\x00\x00\x00\x05stage", OK];
    check_session(
        "a report of progress is no error",
        &[command(b"\x03alter table t force"), Do::Push(Side::Server, vec![]), answer(progress)],
        &["ALTER TABLE t (ALTER TABLE) on t -> 24/30 @4 4 6 6"],
    );
    check_session(
        "several results",
        &[command(b"\x03do 1;do 2"), answer(&[OK_MORE]), answer_from(2, &[OK])],
        &["DO DO (-) x2 -> 14/22 @4 4 5 6"],
    );
    check_session(
        "nothing answers what closes a statement",
        &[
            command(b"\x19\x01\x00\x00\x00"),
            command(b"\x18\x01\x00\x00\x00\x00\x00abc"),
            command(b"\x0e"),
            answer(&[OK]),
        ],
        &["PING -> 5/11 @6 6 7 7"],
    );
    check_session(
        "two commands at once",
        &[command(b"\x0e"), command(SELECT), answer(&[OK]), answer(rows)],
        &["PING -> 5/11 @4 4 6 6", "SELECT t (SELECT) on t -> 2 rows 20/61 @5 5 7 7"],
    );
    let refused = Do::Push(Side::Client, [&[0xff, 0xff, 0xff, 0][..], SELECT].concat());
    check_session(
        "what is too large is refused before it is there",
        &[
            refused,
            answer(&[b"\xff\x81\x04#08S01Got a packet bigger than 'max_allowed_packet' bytes"]),
            CLOSED,
        ],
        &["- -> error 1153 -/64 @4 - 5 5"],
    );
}

#[test]
fn large_packets() {
    // A row of 2^24 - 1 bytes and 5 more: its first value takes 8 bytes to say its length.
    let full = 0x00ff_ffff_usize;
    let mut row = b"\xfe\xfb\xff\xff\x00\x00\x00\x00\x00".to_vec();
    row.resize(full, b'x');
    let mut bytes = [packet(1, b"\x01"), packet(2, COLUMN), packet(3, EOF)].concat();
    bytes.extend([0xff, 0xff, 0xff, 4]);
    let begun = bytes.len() + 600;
    bytes.extend(&row);
    bytes.extend(packet(5, b"xxxxx"));
    let rest = [packet(6, b"\x011"), packet(7, EOF)].concat();
    let total = bytes.len() + rest.len();
    let answered = format!("SELECT t (SELECT) on t -> 2 rows 20/{total} @4 4 5 6");
    let whole =
        [command(SELECT), Do::Push(Side::Server, bytes.clone()), Do::Push(Side::Server, rest.clone())];
    let told =
        |script: &[Do]| run(&session(script), Birth::Seen).exchanges.iter().map(written).collect::<Vec<_>>();
    assert_eq!(told(&whole), [answered.as_str()]);
    // The same, where the kernel does not copy what is asked to be left out.
    let mut parser = open(Limits::default().into(), Birth::Seen);
    let mut out = Vec::new();
    for (at, step) in (1..).map(Ktime).zip(session(&whole[..1])) {
        if let Do::Push(side, bytes) = step {
            let _ = parser.push(side, at, &bytes, &mut out);
        }
    }
    let step = parser.push(Side::Server, Ktime(5), &bytes[..begun], &mut out);
    let left = (full - 600) as u64;
    assert_eq!(step.want, [Want::Stream, Want::Skip(left)]);
    let step = parser.skipped(Side::Server, Ktime(5), left, &mut out);
    assert_eq!(step.want, [Want::Stream; 2]);
    let step =
        parser.push(Side::Server, Ktime(6), &[&bytes[begun + left as usize..], &rest].concat(), &mut out);
    assert_eq!(step.next, Next::Continue);
    assert_eq!(out.len(), 2, "{out:?}");
    assert!(parser.held() < 4096, "holds {}", parser.held());
}

#[test]
fn a_login_leads_elsewhere() {
    let none = Oddities::default();
    let hello = Do::Push(Side::Client, b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".to_vec());
    let tls = [greeting("8.0.36"), login(USUAL | SSL), hello];
    check("TLS", &tls, Birth::Seen, &[], none, Next::Become);
    let compressed = [greeting("8.0.36"), login(USUAL | COMPRESS), answer_from(2, &[OK]), command(SELECT)];
    check("compressed", &compressed, Birth::Seen, &[], none, Next::Opaque);
    let refused =
        [greeting("8.0.36"), login(USUAL), answer_from(2, &[b"\xff\x15\x04#28000Access denied"]), CLOSED];
    check("refused", &refused, Birth::Seen, &[], none, Next::Continue);
    let full = [Do::Push(Side::Server, packet(0, b"\xff\x10\x04Too many connections")), CLOSED];
    check("no greeting", &full, Birth::Seen, &[], none, Next::Continue);
    let asked = [
        &[
            greeting("8.0.36"),
            login(USUAL),
            answer_from(2, &[b"\xfecaching_sha2_password\x0012345678901234567890\0"]),
        ][..],
        &[Do::Push(Side::Client, packet(3, b"secret")), answer_from(4, &[b"\x01\x03", OK])],
        &[command(b"\x0e"), answer(&[OK])],
    ];
    check(
        "another way to log in",
        &asked.concat(),
        Birth::Seen,
        &["PING -> 5/11 @6 6 7 7"],
        none,
        Next::Continue,
    );
    let dump = session(&[command(b"\x12\x04\x00\x00\x00\x00\x00\x01\x00\x00\x00bin.1"), answer(&[OK])]);
    check("a binary log", &dump, Birth::Seen, &[], none, Next::Opaque);
}

#[test]
fn ends() {
    let none = Oddities::default();
    for (name, rest, exchange) in [
        (
            "no answer",
            vec![command(SELECT), CLOSED],
            "SELECT t (SELECT) on t -> Unanswered(Closed(None)) 20/- @4 4 - 5",
        ),
        (
            "half a command",
            vec![Do::Push(Side::Client, b"\x09\x00\x00\x00\x03sel".to_vec()), Do::End(Side::Client), CLOSED],
            "- -> Aborted(Closed(Some(Client))) -/- @4 - - 5",
        ),
        (
            "half an answer",
            vec![command(SELECT), answer(&[b"\x01", COLUMN]), Do::Close(Close::Reset(Side::Server))],
            "SELECT t (SELECT) on t -> Truncated(Reset(Server)) 20/- @4 4 5 6",
        ),
        (
            "the server's end",
            vec![command(SELECT), Do::Push(Side::Server, b"\x07".to_vec()), Do::End(Side::Server)],
            "SELECT t (SELECT) on t -> Truncated(Closed(Some(Server))) 20/- @4 4 5 6",
        ),
        (
            "an answer that was lost",
            vec![command(SELECT), Do::Gap(Side::Server, 50), CLOSED],
            "SELECT t (SELECT) on t -> NotObserved 20/- @4 4 - 6",
        ),
    ] {
        check(name, &session(&rest), Birth::Seen, &[exchange], none, Next::Continue);
    }
    let told = [
        command(b"\x0e"),
        answer(&[OK]),
        answer_from(0, &[b"\xff\xbf\x0f#HY000closed for being idle"]),
        CLOSED,
    ];
    let odd = Oddities { orphan_responses: 1, ..none };
    check("said unasked", &session(&told), Birth::Seen, &["PING -> 5/11 @4 4 5 5"], odd, Next::Continue);
}

/// Whatever is not exported is not shown.
#[test]
fn what_is_shown() {
    let fixed = [&(USUAL | 1 << 3 | 1 << 19).to_le_bytes()[..], &[0, 0, 0, 1, 45], &[0; 23]].concat();
    let login = [&fixed, &b"CANARY\0\x06CANARYshop\0CANARY\0"[..]].concat();
    let column =
        b"\x03def\x06CANARY\x06CANARY\x06CANARY\x06CANARY\x06CANARY\x0c\x3f\0\x01\0\0\0\xfd\x81\0\0\0\0";
    let info = b"\0\x01\x01\x02\x40\0\0\x06CANARY\x13\x01\x05\x04shop\0\x0aCANARYCANA";
    let script = [
        greeting("8.0.36-CANARY"),
        Do::Push(Side::Client, packet(1, &login)),
        answer_from(2, &[b"\xfeCANARY\0CANARY"]),
        Do::Push(Side::Client, packet(3, b"CANARY")),
        answer_from(4, &[OK]),
        command(
            b"\x03\x01\x01\0\x01\xfd\0\x06CANARY\x06CANARYselect CANARY, 'CANARY' from items /* CANARY */",
        ),
        answer(&[b"\x01", column, EOF, b"\x06CANARY", EOF]),
        command(b"\x03update items set CANARY = \"CANARY\""),
        answer(&[info]),
        command(b"\x03select CANARY from items"),
        answer(&[b"\xff\x7a\x04#42S02Table 'CANARY' doesn't exist"]),
        command(b"\x16delete from items where CANARY = ?"),
        answer(&[b"\0\x01\0\0\0\0\0\x01\0\0\0\0", column, EOF]),
        command(b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\xfd\0\x06CANARY"),
        answer(&[OK]),
        command(b"\x18\x01\0\0\0\0\0CANARY"),
        command(b"\x03load data local infile 'CANARY' into table items"),
        answer(&[b"\xfbCANARY"]),
        Do::Push(Side::Client, [packet(2, b"CANARY"), packet(3, b"")].concat()),
        answer_from(4, &[OK]),
        command(b"\x09"),
        answer(&[b"CANARY: 1"]),
        command(b"\x03CANARY is no statement"),
        answer(&[b"\xff\x28\x04#42000CANARY"]),
        command(b"\x11CANARY\0\x06CANARYother\0CANARY"),
        answer(&[OK]),
        command(b"\x06CANARY"),
        answer(&[OK]),
        CLOSED,
    ];
    for size in [usize::MAX, 1, 7] {
        let run = run_pieces(&script, Birth::Seen, &Limits::default(), |bytes| size.min(bytes.len()));
        assert_eq!(run.exchanges.len(), 10, "{:?}", run.exchanges.iter().map(written).collect::<Vec<_>>());
        check_shown(&run, Birth::Seen, "canaries");
        for side in [Side::Client, Side::Server] {
            let pushed = run.shown.iter().filter_map(|(_, step)| match step {
                Do::Push(of, bytes) if *of == side => Some(bytes.as_slice()),
                _ => None,
            });
            let shown = pushed.collect::<Vec<_>>().concat();
            assert!(!shown.windows(6).any(|six| six == b"CANARY"), "{}", shown.escape_ascii());
        }
    }
}

#[test]
fn met_in_the_middle() {
    let execute = command(b"\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00");
    let rows: &[&[u8]] = &[b"\x01", COLUMN, EOF, b"\x00\x00\x01", EOF];
    let odd = |before_join, orphan_responses, unresolved| Oddities {
        before_join,
        orphan_responses,
        unresolved,
        ..Oddities::default()
    };
    let met = |name, script: &[Do], exchanges: &[&str], odd| {
        check(name, script, Birth::Joined, exchanges, odd, Next::Continue)
    };
    let rest = Do::Push(Side::Server, b"rest of a row".to_vec());
    met(
        "in an answer; a statement that nobody knows",
        &[rest.clone(), execute.clone(), answer(rows)],
        &["- -> 1 rows 14/57 @2 2 3 3"],
        odd(13, 1, 1),
    );
    let prepare = command(b"\x16delete from t where a = ?");
    let prepared: &[&[u8]] = &[b"\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", COLUMN];
    let delete = "DELETE t (DELETE) on t -> 14/11 @3 3 4 4";
    met(
        "no EOF after parameters",
        &[prepare.clone(), answer(prepared), execute.clone(), answer(&[OK])],
        &["PREPARE DELETE t (PREPARE) on t -> 30/43 @1 1 2 2", delete],
        odd(0, 0, 0),
    );
    met(
        "an EOF after parameters",
        &[prepare, answer(&[prepared, &[EOF]].concat()), execute, answer(&[OK])],
        &["PREPARE DELETE t (PREPARE) on t -> 30/52 @1 1 2 2", delete],
        odd(0, 0, 0),
    );
    met(
        "what looks like a command and is answered by something else",
        &[
            command(SELECT),
            Do::Push(Side::Server, b"HTTP/1.1 200 OK\r\n".to_vec()),
            command(b"\x0e"),
            answer(&[OK]),
        ],
        &["PING -> 5/11 @3 3 4 4"],
        odd(20 + 17, 0, 0),
    );
    // A text without a verb of SQL is no sign.
    met("no SQL", &[command(b"\x03hello"), answer(&[OK])], &[], odd(21, 1, 0));
}

/// What only one of both says or understands names it from there on.
#[test]
fn which_database_it_is() {
    let error = |number: u16, text: &str| {
        answer(&[&[&b"\xff"[..], &number.to_le_bytes(), b"#42000", text.as_bytes()].concat()])
    };
    let manual = |whose: &str, near: &str| {
        let manual = "You have an error in your SQL syntax; check the manual that corresponds to your";
        error(1064, &format!("{manual} {whose} version for the right syntax to use near '{near}' at line 1"))
    };
    let bulk = command(b"\xfa\x01\x00\x00\x00\x80\x00\x03\x00\x00\x01");
    let systems = |birth: Birth, script: &[Do]| -> Vec<DbSystem> {
        run(script, birth).exchanges.iter().map(system).collect()
    };
    let [unknown, mysql, maria] = [DbSystem::OtherSql, DbSystem::MySql, DbSystem::MariaDb];
    for (said, expected) in [
        (answer(&[OK]), unknown),
        (manual("MySQL server", "MariaDB server version"), mysql),
        (manual("MariaDB server", "MySQL server version"), maria),
        (manual("TiDB", ""), unknown),
        (error(1146, "Table 'MariaDB server version' doesn't exist"), unknown),
        (error(1927, "Connection was killed"), maria),
    ] {
        let [asked, next] = [command(b"\x03DELETE FROM t"), command(b"\x0e")];
        let script = [asked, said, next, answer(&[OK])];
        assert_eq!(systems(Birth::Joined, &script), [expected; 2], "{script:?}");
        check_shown(&run(&script, Birth::Joined), Birth::Joined, "which database");
    }
    let [refused, taken] = [error(1047, "Unknown command"), answer(&[OK])];
    assert_eq!(
        systems(Birth::Joined, &[command(b"\x0e"), answer(&[OK]), bulk.clone(), refused]),
        [unknown; 2]
    );
    assert_eq!(systems(Birth::Joined, &[command(b"\x0e"), answer(&[OK]), bulk, taken]), [unknown, maria]);
    // One that is called something else greets as MariaDB does.
    let mut greeting = b"\x0a5.7.44-log\0\x01\0\0\0abcdefgh\0\xfe\xff\x2d\x02\0\xff\x81\x15".to_vec();
    greeting.extend([&[0; 6][..], &[0x1d, 0, 0, 0], b"abcdefghijkl\0mysql_native_password\0"].concat());
    let greeted = |greeting: &[u8]| session::greeting(greeting).expect("a greeting").system;
    assert_eq!(greeted(&greeting), maria);
    greeting[25] |= 1;
    assert_eq!(greeted(&greeting), mysql);
}

#[test]
fn what_has_no_bound_is_bounded() {
    let limits = Limits { head_bytes: 64, outstanding: 4, ..Limits::default() };
    let at_once =
        session(&[command(b"\x0e"), command(b"\x0e"), command(b"\x0e"), command(b"\x0e"), command(b"\x0e")]);
    let run = run_pieces(&at_once, Birth::Seen, &limits, |bytes| bytes.len());
    assert_eq!((run.odd.overflow, run.next, run.exchanges.len()), (1, Next::Opaque, 4));
    // Of eight statements those that were used last are known.
    let mut script = session(&[]);
    for number in 1..=10u8 {
        script.push(command(b"\x16delete from t"));
        script.push(answer(&[&[0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]));
        script.push(command(b"\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00"));
        script.push(answer(&[OK]));
    }
    script.push(command(b"\x17\x02\x00\x00\x00\x00\x01\x00\x00\x00"));
    script.push(answer(&[OK]));
    let run = run_pieces(&script, Birth::Seen, &limits, |bytes| bytes.len());
    assert_eq!((run.odd.unresolved, run.exchanges.len()), (1, 21));
}
