//! `docs/abi.txt`: the contract between the BPF programs and user space, as one list. A change of it shows in a
//! review, whatever file it was made in.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use syn::spanned::Spanned;

use crate::workspace::Workspace;

const HEADER: &str = "# Written by `cargo xtask docs` from sidecar-ebpf/src/abi. Do not edit.\n";

pub(super) fn page(workspace: &Workspace) -> Result<String> {
    let folder = workspace.path("sidecar-ebpf/src/abi");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut page = String::from(HEADER);
    for file in files {
        let text = fs::read_to_string(&file)?;
        let listing = list(&text).with_context(|| format!("parse {}", file.display()))?;
        if !listing.is_empty() {
            let module = file.file_stem().unwrap_or_default().to_string_lossy();
            write!(page, "\n[{module}]\n{listing}")?;
        }
    }
    Ok(page)
}

/// The public constants and structs of one file, in its order.
fn list(text: &str) -> Result<String> {
    let mut listing = String::new();
    for item in syn::parse_file(text)?.items {
        match item {
            syn::Item::Const(item) if is_public(&item.vis) => {
                let (kind, value) = (source(&item.ty), source(&*item.expr));
                writeln!(listing, "const {}: {kind} = {value}", item.ident)?;
            }
            syn::Item::Struct(item) if is_public(&item.vis) => {
                writeln!(listing, "struct {}{}", item.ident, representation(&item.attrs))?;
                for (index, field) in item.fields.iter().enumerate() {
                    let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
                    writeln!(listing, "    {name}: {}", source(&field.ty))?;
                }
            }
            _ => {}
        }
    }
    Ok(listing)
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn representation(attributes: &[syn::Attribute]) -> String {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("repr"));
    attribute.map_or_else(String::new, |attribute| format!(" {}", source(&attribute.meta)))
}

/// The item as it was written, on one line.
fn source(item: &impl Spanned) -> String {
    let text = item.span().source_text().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn lists_what_is_public() {
        let text = "
            /// Doc.
            pub const A: [usize; 2] = [1,
                2];
            const HIDDEN: u8 = 1;
            #[derive(Clone)]
            #[repr(C)]
            pub struct S { /// Doc.
                pub a: u32, pub b: [u8; 16] }
            pub struct T(pub u64);
            const _: () = assert!(size_of::<S>() == 20);
            pub const fn f() {}";
        let listing = list(text).expect("it parses");
        let expected = "const A: [usize; 2] = [1, 2]\nstruct S repr(C)\n    a: u32\n    b: [u8; 16]\nstruct T\n    0: u64\n";
        assert_eq!(listing, expected);
    }
}
