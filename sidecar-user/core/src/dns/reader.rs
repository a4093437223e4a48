//! One message, octet by octet.

use super::{HEADER, Header, Question, name};

/// OPT (RFC 6891, 6.1.2).
const OPT: u16 = 41;
const SOA: u16 = 6;
/// Octets after the name of a question, and of a record up to its data.
const QUESTION: u8 = 4;
const RECORD: u8 = 10;

/// The message cannot be read on from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads a message as it comes. Pointers are passed over and never followed: only the question's name is wanted, and it has
/// nothing before it to point to.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    place: Place,
    /// Octets of the header, or after a name, that have come.
    field: [u8; HEADER],
    n_field: u8,
    n_octets: usize,
    header: Option<Header>,
    /// The first question's name, as far as it has come.
    name: String,
    /// Octets of the name that is read.
    n_name: usize,
    question: Option<Question>,
    /// Where the first question ends.
    question_end: usize,
    questions_left: u16,
    records_left: u32,
    answers_left: u16,
    extended: Option<u8>,
    n_soa: u16,
}

/// What octets of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What says where all else is, and what is read: the first question's name, too.
    Frame,
    /// Text of other names.
    Name,
    /// What records say.
    Data,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Header,
    /// Before a label's length.
    Label,
    /// In a label, with so much to come.
    Text(u8),
    /// In a pointer.
    Pointer,
    /// After a name.
    Fixed,
    /// In a record's data, with so much to come.
    Data(u16),
    /// After everything that the header promised.
    End,
}

impl Reader {
    /// The next octets.
    ///
    /// # Errors
    /// They cannot be those of a message. What was read before stays known.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.push_parts(bytes, |_, _| {})
    }

    /// The same; each piece is shown.
    ///
    /// # Errors
    /// As before: what is no message is not shown.
    pub fn push_parts(
        &mut self,
        mut bytes: &[u8],
        mut show: impl FnMut(&[u8], Part),
    ) -> Result<(), Malformed> {
        while let [first, rest @ ..] = bytes {
            let part = self.part();
            let n = match &mut self.place {
                // Those that say nothing are not looked at one by one.
                Place::Data(left) => {
                    let n = bytes.len().min(usize::from(*left));
                    *left -= n as u16;
                    if *left == 0 {
                        self.end_record();
                    }
                    n
                }
                Place::End => bytes.len(),
                _ => {
                    self.take(*first)?;
                    1
                }
            };
            show(&bytes[..n], part);
            self.n_octets += n;
            if self.question_end == 0 && self.question.is_some() {
                self.question_end = self.n_octets;
            }
            bytes = if n == 1 { rest } else { &bytes[n..] };
        }
        Ok(())
    }

    /// The header, once it is there.
    #[must_use]
    pub fn header(&self) -> Option<Header> {
        self.header
    }

    /// The first question, once it is there.
    #[must_use]
    pub fn question(&self) -> Option<&Question> {
        self.question.as_ref()
    }

    /// The same, and where it ends.
    #[must_use]
    pub fn into_question(self) -> Option<(Question, usize)> {
        Some((self.question?, self.question_end))
    }

    /// Everything is there that the header promised.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.place == Place::End
    }

    /// Octets that were read.
    #[must_use]
    pub fn n_octets(&self) -> usize {
        self.n_octets
    }

    /// RCODE with the upper bits that EDNS brings. Where the record that has them did not come it is known only if there
    /// are answers: what fails for their reasons has none.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        let header = self.header?;
        let low = u16::from(header.code());
        match self.extended {
            Some(high) => Some(u16::from(high) << 4 | low),
            None if self.is_whole() || header.n_additional() == 0 || header.n_answers() > 0 => Some(low),
            None => None,
        }
    }

    /// SOA records among the answers: a zone's transfer ends with its second.
    #[must_use]
    pub fn n_soa(&self) -> u16 {
        self.n_soa
    }

    /// What the next octet is.
    fn part(&self) -> Part {
        match self.place {
            Place::Header | Place::Label | Place::Pointer => Part::Frame,
            Place::Text(_) if self.is_in_first_question() => Part::Frame,
            Place::Text(_) => Part::Name,
            Place::Fixed if self.questions_left > 0 => Part::Frame,
            Place::Fixed => match self.n_field {
                // Of OPT the upper bits of RCODE.
                4 if self.field[..2] == OPT.to_be_bytes() => Part::Frame,
                4..8 => Part::Data,
                _ => Part::Frame,
            },
            Place::Data(_) | Place::End => Part::Data,
        }
    }

    fn take(&mut self, octet: u8) -> Result<(), Malformed> {
        match self.place {
            Place::Header => {
                if let Some(octets) = self.gather(octet, HEADER as u8) {
                    let header = Header(octets);
                    self.header = Some(header);
                    self.questions_left = header.n_questions();
                    self.records_left = header.n_records();
                    self.answers_left = header.n_answers();
                    self.next();
                }
            }
            Place::Label => {
                self.count_name()?;
                let is_first = self.is_in_first_question();
                match octet {
                    0 => self.end_name(),
                    1..=63 => {
                        if is_first && !self.name.is_empty() {
                            self.name.push('.');
                        }
                        self.place = Place::Text(octet);
                    }
                    0xc0.. if !is_first => self.place = Place::Pointer,
                    _ => return Err(Malformed),
                }
            }
            Place::Text(left) => {
                self.count_name()?;
                if self.is_in_first_question() {
                    name::spell(&mut self.name, octet);
                }
                self.place = if left == 1 { Place::Label } else { Place::Text(left - 1) };
            }
            Place::Pointer => self.end_name(),
            Place::Fixed if self.questions_left > 0 => {
                if let Some([a, b, c, d, ..]) = self.gather(octet, QUESTION) {
                    if self.question.is_none() {
                        let name = std::mem::take(&mut self.name).into_boxed_str();
                        let [record_type, class] = [[a, b], [c, d]].map(u16::from_be_bytes);
                        self.question = Some(Question { name, record_type, class });
                    }
                    self.questions_left -= 1;
                    self.next();
                }
            }
            Place::Fixed => {
                if let Some(fixed) = self.gather(octet, RECORD) {
                    let record_type = u16::from_be_bytes([fixed[0], fixed[1]]);
                    if self.answers_left > 0 {
                        self.n_soa = self.n_soa.saturating_add(u16::from(record_type == SOA));
                    } else if record_type == OPT {
                        self.extended = Some(fixed[4]);
                    }
                    match u16::from_be_bytes([fixed[8], fixed[9]]) {
                        0 => self.end_record(),
                        left => self.place = Place::Data(left),
                    }
                }
            }
            Place::Data(_) | Place::End => {}
        }
        Ok(())
    }

    /// One octet more of a field of `n`: all of it once it is there.
    fn gather(&mut self, octet: u8, n: u8) -> Option<[u8; HEADER]> {
        self.field[usize::from(self.n_field)] = octet;
        self.n_field += 1;
        if self.n_field < n {
            return None;
        }
        self.n_field = 0;
        Some(self.field)
    }

    fn count_name(&mut self) -> Result<(), Malformed> {
        self.n_name += 1;
        if self.n_name > name::MOST { Err(Malformed) } else { Ok(()) }
    }

    fn is_in_first_question(&self) -> bool {
        self.questions_left > 0 && self.question.is_none()
    }

    fn end_name(&mut self) {
        if self.is_in_first_question() && self.name.is_empty() {
            self.name.push('.');
        }
        self.n_name = 0;
        self.place = Place::Fixed;
    }

    fn end_record(&mut self) {
        self.records_left -= 1;
        self.answers_left = self.answers_left.saturating_sub(1);
        self.next();
    }

    /// Goes on to the next question or record.
    fn next(&mut self) {
        let is_over = self.questions_left == 0 && self.records_left == 0;
        self.place = if is_over { Place::End } else { Place::Label };
    }
}
