//! Tools that send requests, finish what they start, and count what they were answered.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    process,
    scrape::{Kind, known_method},
};

/// The account of what tools sent, by method and status as the tools themselves tell it.
#[derive(Debug)]
pub struct Load {
    wrapper: Vec<String>,
    dir: PathBuf,
    /// Responses that the tools counted.
    pub answered: BTreeMap<Kind, u64>,
}

impl Load {
    /// `wrapper` goes before every tool (a cgroup's, `ip netns exec …`); bodies are written below `dir`.
    #[must_use]
    pub fn new(dir: &Path, wrapper: &[String]) -> Load {
        Load { wrapper: wrapper.to_vec(), dir: dir.to_path_buf(), answered: BTreeMap::new() }
    }

    /// All responses.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.answered.values().sum()
    }

    /// A file of `size` bytes to send.
    #[must_use]
    pub fn body(&self, size: usize) -> String {
        let path = self.dir.join(format!("body-{size}"));
        fs::write(&path, vec![b'b'; size]).expect("a body");
        path.display().to_string()
    }

    /// `h2load --h1 -n N ARGS… URL`. `body` bytes are sent with each request if there are any.
    pub fn h2load(&mut self, kind: (&str, u16), n: u64, args: &str, body: usize, url: &str) {
        let (method, status) = kind;
        let header = format!(":method: {method}");
        let n_text = n.to_string();
        // It would name an IPv6 host without its brackets, which nginx refuses.
        let mut words = vec!["h2load", "--h1", "-n", &n_text, "-H", &header, "-H", ":authority: localhost"];
        words.extend(args.split_whitespace());
        let body = (body > 0).then(|| self.body(body));
        if let Some(body) = &body {
            words.extend(["-d", body]);
        }
        words.push(url);
        let said = self.run(&words);
        // status codes: 20 2xx, 0 3xx, 0 4xx, 0 5xx
        let codes = number_before(&said, &format!("{}xx", status / 100));
        assert_eq!((codes, number_before(&said, "done")), (n, n), "{words:?}: {said}");
        self.add(method, status, codes);
    }

    /// `ab -n N ARGS… URL`.
    pub fn ab(&mut self, kind: (&str, u16), n: u64, args: &str, url: &str) {
        let (method, status) = kind;
        let n_text = n.to_string();
        let mut words = vec!["ab", "-q", "-n", &n_text];
        words.extend(args.split_whitespace());
        words.push(url);
        let said = self.run(&words);
        let complete = number_after(&said, "Complete requests:");
        let others = number_after(&said, "Non-2xx responses:");
        assert_eq!(others, if status / 100 == 2 { 0 } else { complete }, "{words:?}: {said}");
        self.add(method, status, complete);
    }

    /// `hey -n N -m METHOD ARGS… URL`.
    pub fn hey(&mut self, method: &str, n: u64, args: &str, url: &str) {
        let n_text = n.to_string();
        let mut words = vec!["hey", "-disable-redirects", "-n", &n_text, "-m", method];
        words.extend(args.split_whitespace());
        words.push(url);
        let said = self.run(&words);
        // [200]	20 responses
        for line in said.lines().filter(|line| line.trim_end().ends_with("responses")) {
            let (status, count) = line.trim().trim_start_matches('[').split_once(']').expect("a status");
            let count = count.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a count");
            self.add(method, status.parse().expect("a status"), count);
        }
    }

    /// One curl that sends all of these, each (method, extra lines of its configuration, URL), `rounds` times over.
    pub fn curl(&mut self, requests: &[(&str, &str, String)], rounds: usize) {
        let mut config = String::new();
        for (method, extra, url) in std::iter::repeat_n(requests, rounds).flatten() {
            let how = if *method == "HEAD" { "head".into() } else { format!("request = {method}") };
            let separator = if config.is_empty() { "" } else { "next\n" };
            write!(
                config,
                "{separator}{how}\nurl = \"{url}\"\noutput = /dev/null\nsilent\n{extra}\n\
                 write-out = \"%{{method}} %{{http_code}}\\n\"\n"
            )
            .expect("text");
        }
        let path = self.dir.join("curl.conf");
        fs::write(&path, config).expect("curl's configuration");
        let said = self.run(&["curl", "-K", &path.display().to_string()]);
        for line in said.lines() {
            let (method, status) = line.split_once(' ').expect("curl's answer");
            self.add(method, status.parse().expect("a status"), 1);
        }
    }

    fn run(&self, words: &[&str]) -> String {
        let all: Vec<&str> = self.wrapper.iter().map(String::as_str).chain(words.iter().copied()).collect();
        process::run(Command::new(all[0]).args(&all[1..]))
    }

    fn add(&mut self, method: &str, status: u16, n: u64) {
        if n > 0 {
            *self.answered.entry((known_method(method).to_owned(), status.to_string())).or_default() += n;
        }
    }
}

/// The number in front of `word`: `20 2xx`.
fn number_before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).collect();
    let mut pairs = words.windows(2).filter(|pair| pair[1] == word);
    pairs.find_map(|pair| pair[0].parse().ok()).unwrap_or_else(|| panic!("no {word} in {text}"))
}

/// The number that follows a label; 0 if it is not there.
fn number_after(text: &str, label: &str) -> u64 {
    let rest = text.split_once(label).map(|(_, rest)| rest.trim_start());
    rest.and_then(|rest| rest.split_whitespace().next()).map_or(0, |n| n.parse().expect("a number"))
}
