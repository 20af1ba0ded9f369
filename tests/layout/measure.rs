//! Sizes of modules, functions and handles.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use quote::ToTokens;
use syn::{
    Block, ImplItemFn, Item, ItemFn, Signature, Type,
    spanned::Spanned,
    visit::{self, Visit},
};

use super::{
    circles::{back_up, circles},
    tree::{Tree, attributes, is_public, is_test, positional_reads},
};

/// A crate's source, read and counted. Modules of `#[cfg(test)]` count for the lines alone.
#[derive(Default)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) tree: Tree,
    pub(super) functions: Vec<Function>,
    /// The public async functions of each type.
    pub(super) handles: BTreeMap<String, usize>,
    pub(super) positional_reads: usize,
    /// What only a program has, with its file.
    pub(super) program_words: Vec<(String, &'static str)>,
    lines: Vec<usize>,
}

pub(super) struct Function {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) lines: usize,
}

impl Crate {
    pub(super) fn read(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let roots = ["src/lib.rs", "src/main.rs"].map(|root| folder.join(root));
        let tree = Tree::read(roots.iter().find(|root| root.exists()).expect("a crate's root"));
        let mut this = Self { name, tree, ..Self::default() };
        let mut folders = vec![folder.join("src")];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                match path.extension().and_then(|e| e.to_str()) {
                    None => folders.push(path),
                    Some("rs") => {
                        let file = path.strip_prefix(folder.parent().unwrap()).unwrap().display().to_string();
                        this.count(&file, &fs::read_to_string(&path).unwrap());
                    }
                    Some(_) => {}
                }
            }
        }
        this
    }

    pub(super) fn of_file(name: &str, text: &str) -> Self {
        let mut this = Self::default();
        this.count(name, text);
        this
    }

    fn count(&mut self, file: &str, text: &str) {
        self.lines.push(text.lines().count());
        let is_tests = file.ends_with("/tests.rs");
        let parsed = syn::parse_file(text).unwrap();
        for item in parsed.items.into_iter().filter(|item| !is_tests && !is_test(attributes(item))) {
            Functions { file, found: self }.visit_item(&item);
            let tokens = item.into_token_stream();
            let text = tokens.to_string();
            for (words, name) in
                [("fn main (", "fn main"), ("process :: exit", "process::exit"), ("ExitCode", "ExitCode")]
            {
                if text.contains(words) {
                    self.program_words.push((file.to_owned(), name));
                }
            }
            self.positional_reads += positional_reads(tokens);
        }
    }
}

struct Functions<'a> {
    file: &'a str,
    found: &'a mut Crate,
}

impl Functions<'_> {
    fn note(&mut self, signature: &Signature, block: &Block) {
        let lines = block.span().end().line - signature.span().start().line + 1;
        let (file, name) = (self.file.to_owned(), signature.ident.to_string());
        self.found.functions.push(Function { file, name, lines });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            return;
        }
        if let Item::Impl(block) = item
            && block.trait_.is_none()
            && let Type::Path(of) = &*block.self_ty
        {
            let name = of.path.segments.last().unwrap().ident.to_string();
            let functions = block.items.iter().filter(|item| match item {
                syn::ImplItem::Fn(f) => is_public(&f.vis) && f.sig.asyncness.is_some(),
                _ => false,
            });
            *self.found.handles.entry(name).or_default() += functions.count();
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

/// The layout in numbers, crate by crate.
pub(super) fn numbers(crates: &[Crate], longest_function: usize) -> String {
    let mut text = String::new();
    let mut all: Vec<usize> = vec![];
    for this in crates {
        all.extend(&this.lines);
        let arrows = this.tree.arrows();
        let order = super::ROOMS.iter().find(|(of, _)| *of == this.name).map(|(_, order)| *order);
        let up = order.map_or("-".to_owned(), |order| back_up(&arrows, order).len().to_string());
        let circles: Vec<_> = circles(&arrows).iter().map(std::collections::BTreeSet::len).collect();
        let long = this.functions.iter().filter(|f| f.lines > longest_function).count();
        let handle = this
            .handles
            .iter()
            .filter(|(_, functions)| **functions > 0)
            .max_by_key(|(_, functions)| **functions);
        let handle = handle.map_or_else(String::new, |(name, functions)| format!("{name} {functions}"));
        writeln!(
            text,
            "{:10} {} circles of {circles:?}, arrows back up {up}, functions over {longest_function} lines {long}, \
             reads by position {}, largest handle {handle}",
            this.name,
            sizes(&this.lines),
            this.positional_reads,
        )
        .unwrap();
    }
    format!("{text}{:10} {}", "all", sizes(&all))
}

fn sizes(lines: &[usize]) -> String {
    let mut sorted = lines.to_vec();
    sorted.sort_unstable();
    let at = |share: usize| sorted[(sorted.len() - 1) * share / 100];
    format!(
        "{:6} lines in {:3} files: median {:3}, p90 {:3}, max {:3}, over 350 {}.",
        sorted.iter().sum::<usize>(),
        sorted.len(),
        at(50),
        at(90),
        at(100),
        sorted.iter().filter(|l| **l > 350).count(),
    )
}
