//! What a syntax tree holds that some rule asks about, with the lines.

use syn::visit::Visit;

use super::{
    paths::{PathAt, Paths},
    tokens,
};

/// A string literal.
pub(super) struct Text {
    pub(super) value: String,
    pub(super) line: usize,
    pub(super) is_test: bool,
}

/// A name that the kernel will see.
pub(super) struct BpfName {
    pub(super) name: String,
    pub(super) line: usize,
}

#[derive(Default)]
pub(super) struct Facts {
    pub(super) paths: Paths,
    pub(super) strings: Vec<Text>,
    /// Lines with an `allow` attribute.
    pub(super) allows: Vec<usize>,
    /// Lines with an `ignore` attribute that gives no reason.
    pub(super) bare_ignores: Vec<usize>,
    /// Macros that are called, by name.
    pub(super) macros: Vec<(String, usize)>,
    pub(super) bpf_names: Vec<BpfName>,
    module: Vec<String>,
    is_test: bool,
}

impl Facts {
    /// `module` is the file's own path in its crate.
    pub(super) fn of(file: &syn::File, module: Vec<String>, is_test: bool) -> Self {
        let mut facts = Self { module, is_test, ..Self::default() };
        facts.visit_file(file);
        facts
    }

    fn add_tokens(&mut self, stream: proc_macro2::TokenStream) {
        let found = tokens::read(stream);
        for (segments, line) in found.paths {
            let path = PathAt { segments, line, module: self.module.clone(), is_import: false };
            self.paths.add(path);
        }
        let is_test = self.is_test;
        self.strings.extend(found.strings.into_iter().map(|(value, line)| Text { value, line, is_test }));
        self.macros.extend(found.macros);
    }

    /// Visits what is inside of an item as test code, if its attributes say so.
    fn inside(&mut self, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Self)) {
        let outer = self.is_test;
        self.is_test |= attributes.iter().any(is_test_attribute);
        visit(self);
        self.is_test = outer;
    }

    fn add_use(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (segments, name, line) = match tree {
            syn::UseTree::Path(path) => return self.add_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.add_use(tree, prefix));
            }
            syn::UseTree::Name(name) if name.ident == "self" => (prefix.to_vec(), None, line(&name.ident)),
            syn::UseTree::Name(name) => (with(&name.ident), None, line(&name.ident)),
            syn::UseTree::Rename(rename) => {
                let is_self = rename.ident == "self";
                let segments = if is_self { prefix.to_vec() } else { with(&rename.ident) };
                (segments, Some(rename.rename.to_string()), line(&rename.ident))
            }
            syn::UseTree::Glob(glob) => ([prefix, &["*".to_string()]].concat(), None, line(glob)),
        };
        let name = name.or_else(|| segments.last().cloned()).filter(|name| name != "*" && name != "_");
        if let Some(name) = name {
            self.paths.import(name, segments.clone(), self.module.clone());
        }
        self.paths.add(PathAt { segments, line, module: self.module.clone(), is_import: true });
    }
}

impl<'ast> Visit<'ast> for Facts {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        let prefix = if item.leading_colon.is_some() { vec![String::new()] } else { Vec::new() };
        self.add_use(&item.tree, &prefix);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let segments = vec![String::new(), item.ident.to_string()];
        if let Some((_, name)) = &item.rename {
            self.paths.import(name.to_string(), segments.clone(), self.module.clone());
        }
        let line = line(&item.ident);
        self.paths.add(PathAt { segments, line, module: self.module.clone(), is_import: true });
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.paths.declare(self.module.clone(), item.ident.to_string());
        self.inside(&item.attrs, |facts| {
            facts.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(facts, item);
            facts.module.pop();
        });
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if item.attrs.iter().any(is_bpf_program) {
            self.bpf_names.push(BpfName { name: item.sig.ident.to_string(), line: line(&item.sig.ident) });
        }
        self.inside(&item.attrs, |facts| syn::visit::visit_item_fn(facts, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        if let Some(attribute) = item.attrs.iter().find(|attribute| is_bpf_map(attribute)) {
            let name = name_argument(attribute).unwrap_or_else(|| item.ident.to_string());
            self.bpf_names.push(BpfName { name, line: line(&item.ident) });
        }
        syn::visit::visit_item_static(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_some() {
            segments.insert(0, String::new());
        }
        self.paths.add(PathAt { segments, line: line(path), module: self.module.clone(), is_import: false });
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last() {
            self.macros.push((name.ident.to_string(), line(&name.ident)));
        }
        self.add_tokens(call.tokens.clone());
        syn::visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let path = attribute.path();
        if path.is_ident("doc") {
            return;
        }
        if path.is_ident("allow") || (path.is_ident("cfg_attr") && mentions(attribute, "allow")) {
            self.allows.push(line(attribute));
        }
        if path.is_ident("ignore") && !matches!(attribute.meta, syn::Meta::NameValue(_)) {
            self.bare_ignores.push(line(attribute));
        }
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
        syn::visit::visit_attribute(self, attribute);
    }

    fn visit_lit(&mut self, literal: &'ast syn::Lit) {
        let value = match literal {
            syn::Lit::Str(text) => text.value(),
            syn::Lit::ByteStr(bytes) => String::from_utf8_lossy(&bytes.value()).into_owned(),
            syn::Lit::CStr(text) => text.value().to_string_lossy().into_owned(),
            _ => return,
        };
        self.strings.push(Text { value, line: line(literal), is_test: self.is_test });
    }
}

fn line(item: &impl syn::spanned::Spanned) -> usize {
    item.span().start().line
}

/// `#[test]` (also `tokio::test`), or a `cfg` that holds in tests.
fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    let is_last = |name: &str| attribute.path().segments.last().is_some_and(|last| last.ident == name);
    is_last("test") || (is_last("cfg") && mentions(attribute, "test") && !mentions(attribute, "not"))
}

/// One of the attributes of aya-ebpf that make an entry point of a function.
fn is_bpf_program(attribute: &syn::Attribute) -> bool {
    const ENTRIES: [&str; 29] = [
        "btf_tracepoint",
        "cgroup_device",
        "cgroup_skb",
        "cgroup_sock",
        "cgroup_sock_addr",
        "cgroup_sockopt",
        "cgroup_sysctl",
        "classifier",
        "fentry",
        "fexit",
        "flow_dissector",
        "kprobe",
        "kretprobe",
        "lsm",
        "lsm_cgroup",
        "perf_event",
        "raw_tracepoint",
        "sk_lookup",
        "sk_msg",
        "sk_reuseport",
        "sock_ops",
        "socket_filter",
        "stream_parser",
        "stream_verdict",
        "tc",
        "tracepoint",
        "uprobe",
        "uretprobe",
        "xdp",
    ];
    attribute.path().segments.last().is_some_and(|last| ENTRIES.iter().any(|entry| last.ident == entry))
}

/// `map` and `btf_map` of aya-ebpf, or the section that they stand for.
fn is_bpf_map(attribute: &syn::Attribute) -> bool {
    let is_map = |last: &syn::PathSegment| last.ident == "map" || last.ident == "btf_map";
    attribute.path().segments.last().is_some_and(is_map) || mentions(attribute, "\".maps\"")
}

/// `name = "…"` among an attribute's arguments.
fn name_argument(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::List(list) = &attribute.meta else { return None };
    let mut tokens = list.tokens.clone().into_iter().skip_while(|token| token.to_string() != "name");
    syn::parse_str::<syn::LitStr>(&tokens.nth(2)?.to_string()).ok().map(|name| name.value())
}

/// Whether a token of the attribute's arguments reads so.
fn mentions(attribute: &syn::Attribute, word: &str) -> bool {
    matches!(&attribute.meta, syn::Meta::List(list) if tokens::any(list.tokens.clone(), word))
}
