use super::*;

#[test]
fn notes_are_read_as_they_are_written() {
    for form in [Form::Text, Form::Ndjson] {
        let note = String::from_utf8(form.note([7, 8]).to_vec()).expect("text");
        assert_eq!(form.read_note(note.trim_end()), Some([7, 8]), "{note}");
        for line in
            ["protocol=http", "{\"protocol\":\"http\"}", "", "# left out: rate=x slow=1", "{\"left_out\":1"]
        {
            assert_eq!(form.read_note(line), None, "{line}");
        }
    }
}

#[test]
fn wishes() {
    let wish =
        Wish::parse("protocol=http&not.status=2xx&rate=5&count=3&for=1.5s&min-duration=1ms", "text/plain");
    let wish = wish.expect("a wish");
    assert_eq!((wish.rate, wish.count, wish.lasts), (5, Some(3), Some(Duration::from_millis(1500))));
    assert_eq!(wish.form, Form::Text);
    let mut filter = Filter::default();
    for (name, value, is_wanted) in
        [("protocol", "http", true), ("status", "2xx", false), ("min-duration", "1ms", true)]
    {
        filter.add(name, value, is_wanted).expect("a condition");
    }
    assert_eq!(wish.filter, filter);
    assert_eq!(Wish::parse("", "*/*").expect("a wish").form, Form::Ndjson);
    for query in
        ["rate=0", "rate=100001", "count=0", "for=25h", "for=1", "role=x", "not.role=x", "colour=red"]
    {
        assert!(Wish::parse(query, "").is_err(), "{query}");
    }
}
