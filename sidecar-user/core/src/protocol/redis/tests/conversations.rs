//! From their first byte on.

use super::{Client, Play, Server, check, command, commands, whole};
use crate::protocol::{Birth, Next};

#[test]
fn commands_and_answers() {
    check("one", &[(Client, &command("GET k")), (Server, b"$1\r\nv\r\n")], &["GET 0"]);
    check("lower case", &[(Client, &command("get k")), (Server, b"$-1\r\n")], &["GET 0"]);
    check(
        "a pipeline",
        &[
            (Client, &commands(&["SET k v", "INCR k", "LRANGE l 0 -1", "NOPE secret"])),
            (Server, b"+OK\r\n-ERR value is not an integer or out of range\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n"),
            (Server, b"-ERR unknown command 'NOPE', with args beginning with: 'secret' \r\n"),
        ],
        &["SET 0", "INCR 0 ERR", "LRANGE 0", "? 0 ERR"],
    );
    check(
        "contained",
        &[
            (
                Client,
                &commands(&["CONFIG GET dir", "client list", "CLIENT secret", "ACL SETUSER a", "COMMAND"]),
            ),
            (Server, b"*0\r\n$1\r\nx\r\n-ERR unknown subcommand 'secret'. Try CLIENT HELP.\r\n+OK\r\n*0\r\n"),
        ],
        &["CONFIG GET 0", "CLIENT LIST 0", "CLIENT 0 ERR", "ACL SETUSER 0", "COMMAND 0"],
    );
    check(
        "modules'",
        &[
            (Client, &commands(&["FT.SEARCH i q", "ft.search i q", "A.SECRET", "my.key", "JSON.GET a"])),
            (Server, b"*1\r\n:0\r\n*1\r\n:0\r\n-ERR unknown command 'A.SECRET'\r\n"),
            (Server, b"-ERR unknown command 'my.key'\r\n$1\r\n1\r\n"),
        ],
        &["FT.SEARCH 0", "FT.SEARCH 0", "? 0 ERR", "? 0 ERR", "JSON.GET 0"],
    );
    check(
        "lines of words",
        &[(Client, b"PING\r\n\r\nset k \"a b\"\nGET k\r\n"), (Server, b"+PONG\r\n+OK\r\n$3\r\na b\r\n")],
        &["PING 0", "SET 0", "GET 0"],
    );
    check(
        "what scripts say is no code",
        &[
            (Client, &commands(&["EVAL x 0", "EVAL x 0", "GET l"])),
            (Server, b"-my secret\r\n-MYERR a\r\n-WRONGTYPE Operation against a key\r\n"),
        ],
        &["EVAL 0", "EVAL 0 MYERR", "GET 0 WRONGTYPE"],
    );
    check(
        "a value in a value",
        &[(Client, &command("SET k *1\r\n$4\r\nPING\r\n")), (Server, b"+OK\r\n")],
        &["SET 0"],
    );
    check(
        "read over",
        &[(Client, b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n"), (Server, b"+PONG\r\n")],
        &["PING 0"],
    );
    check(
        "no answer",
        &[(Client, &commands(&["BLPOP a 0", "GET k"]))],
        &["BLPOP 0 Unanswered(Closed(None))", "GET 0 Unanswered(Closed(None))"],
    );
}

#[test]
fn every_type_of_resp3() {
    for answer in [
        "+OK\r\n",
        "-ERR a\r\n",
        ":-5\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "_\r\n",
        ",1.5e10\r\n",
        ",inf\r\n",
        "#t\r\n",
        "(3492890328409238509324850943850943825024385\r\n",
        "!5\r\nERR a\r\n",
        "=15\r\ntxt:Some string\r\n",
        "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
        "~2\r\n+a\r\n%0\r\n",
        "|1\r\n+ttl\r\n*1\r\n:3600\r\n$1\r\nv\r\n",
        "*2\r\n|1\r\n+a\r\n:1\r\n:2\r\n*1\r\n|1\r\n+b\r\n+c\r\n:3\r\n",
        "|0\r\n+OK\r\n",
        "$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n",
        "*?\r\n:1\r\n*?\r\n.\r\n.\r\n",
        "*2\r\n$?\r\n;1\r\na\r\n;0\r\n%?\r\n+a\r\n:1\r\n.\r\n",
    ] {
        let answers = [answer, "$1\r\nv\r\n"].concat();
        let mut told = whole(&[(Client, &commands(&["NOPE.A x", "GET k"])), (Server, answers.as_bytes())]);
        assert_eq!(told.pop().as_deref(), Some("GET 0"), "{answer}");
        let pushes = [(Client, &commands(&["HELLO 3 AUTH u p", "GET k"])[..]), (Server, answers.as_bytes())];
        let is_error = answer.starts_with('-') || answer.starts_with('!');
        let mut play = Play::new(Birth::Seen);
        answers.as_bytes().chunks(1).for_each(|_| ());
        for (side, bytes) in pushes {
            bytes.chunks(1).for_each(|byte| play.push(side, byte));
        }
        let told = play.close();
        assert_eq!(told.len(), 2, "{answer}");
        assert_eq!(told[0].contains("ERR"), is_error && answer.starts_with('-'), "{answer}: {told:?}");
    }
}

#[test]
fn transactions() {
    check(
        "executed",
        &[
            (Client, &commands(&["MULTI", "SET k v", "LPUSH k 1", "SELECT 3", "GET k", "EXEC", "GET k"])),
            (Server, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"),
            (Server, b"*4\r\n+OK\r\n:1\r\n+OK\r\n$-1\r\n$-1\r\n"),
        ],
        &["MULTI 0", "SET 0", "LPUSH 0", "SELECT", "GET", "EXEC 3 batch=4", "GET 3"],
    );
    check(
        "an error in it",
        &[
            (Client, &commands(&["MULTI", "LPUSH k 1", "EXEC"])),
            (Server, b"+OK\r\n+QUEUED\r\n*1\r\n-WRONGTYPE Operation against a key\r\n"),
        ],
        &["MULTI 0", "LPUSH 0", "EXEC 0 WRONGTYPE"],
    );
    check(
        "not executed",
        &[
            (
                Client,
                &commands(&["WATCH k", "MULTI", "NOPE", "EXEC", "MULTI", "SELECT 1", "DISCARD", "EXEC"]),
            ),
            (Server, b"+OK\r\n+OK\r\n-ERR unknown command 'NOPE'\r\n-EXECABORT Transaction discarded\r\n"),
            (Server, b"+OK\r\n+QUEUED\r\n+OK\r\n-ERR EXEC without MULTI\r\n"),
        ],
        &[
            "WATCH 0",
            "MULTI 0",
            "? 0 ERR",
            "EXEC 0 EXECABORT",
            "MULTI 0",
            "SELECT",
            "DISCARD 0",
            "EXEC 0 ERR",
        ],
    );
    check(
        "what was watched changed",
        &[
            (Client, &commands(&["MULTI", "PING", "EXEC", "MULTI", "EXEC"])),
            (Server, b"+OK\r\n+QUEUED\r\n*-1\r\n+OK\r\n*0\r\n"),
        ],
        &["MULTI 0", "PING 0", "EXEC 0", "MULTI 0", "EXEC 0"],
    );
}

#[test]
fn databases() {
    check(
        "selected",
        &[
            (Client, &commands(&["SELECT 2", "GET k", "SELECT 99", "GET k", "RESET", "GET k"])),
            (Server, b"+OK\r\n$-1\r\n-ERR DB index is out of range\r\n$-1\r\n+RESET\r\n$-1\r\n"),
        ],
        &["SELECT 2", "GET 2", "SELECT 2 ERR", "GET 2", "RESET 0", "GET 0"],
    );
}

const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n";

#[test]
fn published() {
    let message = std::str::from_utf8(MESSAGE).expect("text");
    check(
        "RESP2",
        &[
            (Client, &commands(&["SUBSCRIBE a b", "PSUBSCRIBE c*", "PING"])),
            (Server, b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
            (Server, MESSAGE),
            (
                Server,
                b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n*3\r\n$10\r\npsubscribe\r\n$2\r\nc*\r\n:3\r\n",
            ),
            (
                Server,
                b"*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$1\r\nc\r\n$2\r\nhi\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            ),
            (Client, &commands(&["UNSUBSCRIBE", "PUNSUBSCRIBE", "LRANGE l 0 -1"])),
            (
                Server,
                b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n",
            ),
            (Server, b"*3\r\n$12\r\npunsubscribe\r\n$2\r\nc*\r\n:0\r\n"),
            // Nothing is subscribed to: this is a list.
            (Server, MESSAGE),
        ],
        &[
            "message of 5",
            "SUBSCRIBE 0",
            "PSUBSCRIBE 0",
            "message of 2",
            "PING 0",
            "UNSUBSCRIBE 0",
            "PUNSUBSCRIBE 0",
            "LRANGE 0",
        ],
    );
    check(
        "RESP3",
        &[
            (Client, &commands(&["HELLO 3", "SUBSCRIBE a", "GET k", "UNSUBSCRIBE", "GET k"])),
            (Server, b"%1\r\n$5\r\nproto\r\n:3\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
            (Server, message.replacen('*', ">", 1).as_bytes()),
            (Server, b"$1\r\nv\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"),
            (Server, b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n$1\r\nv\r\n"),
        ],
        &["HELLO 0", "SUBSCRIBE 0", "message of 5", "GET 0", "message of 1", "UNSUBSCRIBE 0", "GET 0"],
    );
    check(
        "nothing to unsubscribe from, and monitored",
        &[
            (Client, &commands(&["UNSUBSCRIBE", "MONITOR", "PING"])),
            (Server, b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n+OK\r\n"),
            (Server, b"+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n+PONG\r\n"),
        ],
        &["UNSUBSCRIBE 0", "MONITOR 0", "message of 48", "PING 0"],
    );
}

#[test]
fn silenced() {
    check(
        "off, and on again",
        &[
            (Client, &commands(&["CLIENT REPLY OFF", "SET k v", "client reply on", "GET k"])),
            (Server, b"+OK\r\n$1\r\nv\r\n"),
        ],
        &["CLIENT REPLY 0 silent", "SET 0 silent", "CLIENT REPLY 0", "GET 0"],
    );
    check(
        "but for the next",
        &[
            (Client, &commands(&["PING", "CLIENT REPLY SKIP", "SET k v", "GET k"])),
            (Server, b"+PONG\r\n$1\r\nv\r\n"),
        ],
        &["CLIENT REPLY 0 silent", "SET 0 silent", "PING 0", "GET 0"],
    );
}

#[test]
fn a_replica_is_not_read() {
    for (command, answer, told) in [
        ("PSYNC ? -1", &b"\n+FULLRESYNC 0123 0\r\n"[..], "PSYNC 0"),
        ("SYNC", b"\n\n$1234\r\nREDIS0010", "SYNC 0 NotObserved"),
    ] {
        let mut play = Play::new(Birth::Seen);
        play.push(Client, &super::command(command));
        play.push(Server, answer);
        assert_eq!((play.next, play.close()), (Next::Opaque, vec![told.to_owned()]), "{command}");
    }
}

#[test]
fn a_thousand_at_once() {
    for n in [1_000, 8_000, 20_000] {
        let mut play = Play::new(Birth::Seen);
        play.push(Client, &command("GET k").repeat(n));
        play.push(Server, &b"$1\r\nv\r\n".repeat(n));
        play.push(Client, &command("INCR k"));
        play.push(Server, b":1\r\n");
        let told = play.close();
        let beyond = n.saturating_sub(8192);
        assert_eq!(told.len(), n - beyond + 1);
        assert_eq!(told.last().map(String::as_str), Some("INCR 0"));
        assert_eq!(play.odd.overflow as usize, beyond);
    }
}

#[test]
fn what_a_client_makes_up_is_told_apart() {
    let mut play = Play::new(Birth::Seen);
    play.push(Client, &command("GET k"));
    play.push(Client, b"*1\r\n!\r\n");
    play.push(Server, b"$1\r\nv\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    assert_eq!(play.close(), ["GET 0"]);
    assert_eq!((play.odd.malformed, play.odd.orphan_responses), (1, 1));
}
