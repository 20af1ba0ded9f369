//! A crate's modules, and the names that its files take from each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// The source tree of one crate, read from its root file. Files of `#[cfg(test)]` modules are not part of it.
#[derive(Default)]
pub(super) struct Tree {
    modules: BTreeMap<Route, Module>,
    files: Vec<PathBuf>,
}

/// A module's way from the crate's root: empty for the root, `["a", "b"]` for `crate::a::b`.
pub(super) type Route = Vec<String>;

/// For each pair of files, by the modules that they hold, the names that the first takes from the second.
pub(super) type Arrows = BTreeMap<(Route, Route), BTreeSet<String>>;

#[derive(Default)]
struct Module {
    file: usize,
    items: BTreeSet<String>,
    /// What `use` brings into the module, by the name that it has there.
    uses: BTreeMap<String, Route>,
    globs: Vec<Route>,
    /// Paths of at least two segments, wherever they stand.
    paths: Vec<Route>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_file(root, &root.with_file_name(""), vec![]);
        tree
    }

    /// Each name that a file takes from another one. A name that a module re-exports counts for the file that
    /// defines it.
    pub(super) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (route, module) in &self.modules {
            for path in module.paths.iter().chain(module.uses.values()).chain(&module.globs) {
                let Some((to, name)) = self.resolve(route, path, 0) else { continue };
                let (from, to) = (self.file_route(route), self.file_route(&to));
                if from != to {
                    arrows.entry((from, to)).or_default().insert(name);
                }
            }
        }
        arrows
    }

    fn read_file(&mut self, file: &Path, folder: &Path, route: Route) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.files.push(file.to_owned());
        self.read_module(parsed.items, self.files.len() - 1, folder, route);
    }

    /// `folder` is where the files of the module's children are.
    fn read_module(&mut self, items: Vec<Item>, file: usize, folder: &Path, route: Route) {
        let mut module = Module { file, ..Module::default() };
        for item in items.into_iter().filter(|item| !is_test(attributes(item))) {
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    let (folder, below) =
                        (folder.join(&name), [&*route, std::slice::from_ref(&name)].concat());
                    match child.content {
                        Some((_, items)) => self.read_module(items, file, &folder, below),
                        None => {
                            let files = [folder.with_extension("rs"), folder.join("mod.rs")];
                            let found = files.iter().find(|f| f.exists());
                            let found = found.unwrap_or_else(|| panic!("no file of module {below:?}"));
                            self.read_file(found, &folder, below);
                        }
                    }
                }
                Item::Use(item) => module.import(&item),
                item => {
                    module.items.extend(name_of(&item));
                    module.read_paths(item.into_token_stream());
                }
            }
        }
        self.modules.insert(route, module);
    }

    /// The module that defines what a path names, and the name. None for what other crates define, for
    /// local names, and for a module itself: what is taken from the module counts.
    fn resolve(&self, route: &[String], path: &[String], depth: u8) -> Option<(Route, String)> {
        let (first, rest) = path.split_first()?;
        match &**first {
            _ if depth > 16 => None,
            "crate" => self.walk(vec![], rest, depth),
            "self" => self.walk(route.to_vec(), rest, depth),
            "super" => {
                let (_, above) = route.split_last()?;
                if rest.first().is_some_and(|r| r == "super") {
                    return self.resolve(above, rest, depth + 1);
                }
                self.walk(above.to_vec(), rest, depth)
            }
            _ if self.knows(route, first) => self.walk(route.to_vec(), path, depth),
            _ => self.through_globs(route, path, depth),
        }
    }

    /// Follows a path from a module downwards.
    fn walk(&self, route: Route, path: &[String], depth: u8) -> Option<(Route, String)> {
        let (first, rest) = path.split_first()?;
        let child = [&*route, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.walk(child, rest, depth);
        }
        let module = self.modules.get(&route)?;
        if module.items.contains(first) {
            return Some((route, first.clone()));
        }
        if let Some(used) = module.uses.get(first) {
            return self.resolve(&route, &[&**used, rest].concat(), depth + 1);
        }
        match self.through_globs(&route, path, depth) {
            // A name that a macro makes.
            None => Some((route, first.clone())),
            found => found,
        }
    }

    fn through_globs(&self, route: &[String], path: &[String], depth: u8) -> Option<(Route, String)> {
        self.modules.get(route)?.globs.iter().find_map(|glob| {
            let holder = self.module(route, glob, depth + 1)?;
            self.knows(&holder, &path[0]).then(|| self.walk(holder, path, depth + 1)).flatten()
        })
    }

    /// The module that a path names, if it names one.
    fn module(&self, route: &[String], path: &[String], depth: u8) -> Option<Route> {
        // A name that nothing has: only the module where the search for it ends is of interest.
        let probe = [path, &["?".to_owned()]].concat();
        self.resolve(route, &probe, depth).filter(|(_, name)| name == "?").map(|(holder, _)| holder)
    }

    fn knows(&self, route: &[String], name: &str) -> bool {
        let child = [route, &[name.to_owned()]].concat();
        self.modules.contains_key(&child)
            || self.modules.get(route).is_some_and(|m| m.items.contains(name) || m.uses.contains_key(name))
    }

    /// The module that owns the file of a module: for inline modules, the one around them.
    fn file_route(&self, route: &[String]) -> Route {
        let mut route = route.to_vec();
        let file = self.modules[&route].file;
        while let Some((_, above)) = route.split_last()
            && self.modules[above].file == file
        {
            route.pop();
        }
        route
    }
}

impl Module {
    fn import(&mut self, item: &ItemUse) {
        let mut leaves = vec![];
        flatten(&item.tree, &mut vec![], &mut leaves);
        for (name, path) in leaves {
            match name {
                Some(name) => _ = self.uses.insert(name, path),
                None => self.globs.push(path),
            }
        }
    }

    /// Notes the paths `a::b` within tokens, so also within macros. A `use` within a function counts as paths.
    fn read_paths(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.read_paths(group.stream()),
                TokenTree::Ident(ident) if ident == "use" => {
                    let end = at + tokens[at..].iter().position(|t| is_punct(t, ';')).unwrap_or(0);
                    let item = tokens[at..=end].iter().cloned().collect();
                    if let Ok(item) = syn::parse2::<ItemUse>(item) {
                        let mut leaves = vec![];
                        flatten(&item.tree, &mut vec![], &mut leaves);
                        self.paths.extend(leaves.into_iter().map(|(_, path)| path));
                    }
                    at = end;
                }
                TokenTree::Ident(ident) => {
                    let mut path = vec![ident.to_string()];
                    while let [a, b, TokenTree::Ident(next), ..] = &tokens[at + 1..]
                        && is_punct(a, ':')
                        && is_punct(b, ':')
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    // A single name may come by a glob.
                    self.paths.push(path);
                }
                _ => {}
            }
            at += 1;
        }
    }
}

/// The leaves of a `use`: the name in scope (none for a glob) and the whole path.
fn flatten(tree: &UseTree, before: &mut Route, leaves: &mut Vec<(Option<String>, Route)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, leaves);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, before, leaves)),
        UseTree::Glob(_) => leaves.push((None, before.clone())),
        UseTree::Name(name) if name.ident == "self" => leaves.push((before.last().cloned(), before.clone())),
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            leaves.push((Some(name.clone()), [&**before, &[name]].concat()));
        }
        UseTree::Rename(rename) => {
            let path = match &rename.ident {
                ident if ident == "self" => before.clone(),
                ident => [&**before, &[ident.to_string()]].concat(),
            };
            leaves.push((Some(rename.rename.to_string()), path));
        }
    }
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(ident.to_string())
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, or `#[cfg(all(test, ..))]`.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let tokens = attribute.meta.to_token_stream().to_string().replace(' ', "");
        tokens == "cfg(test)" || tokens.starts_with("cfg(all(test,")
    })
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_punct(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(p) if p.as_char() == punct)
}

/// Reads of a row's column by its position: `.get(0)`, `.get::<_, T>(3)`, `.try_get(1)`.
pub(super) fn positional_reads(tokens: TokenStream) -> usize {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut reads = 0;
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            reads += positional_reads(group.stream());
        }
        let is_get = matches!(token, TokenTree::Ident(name) if name == "get" || name == "try_get");
        if !is_get || at == 0 || !is_punct(&tokens[at - 1], '.') {
            continue;
        }
        // The argument's parentheses come next, or after a turbofish.
        let mut after = tokens[at + 1..].iter();
        let call = match after.next() {
            Some(TokenTree::Group(group)) => Some(group),
            Some(token) if is_punct(token, ':') => {
                after.take_while(|t| !is_punct(t, ';')).find_map(|t| match t {
                    TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => Some(group),
                    _ => None,
                })
            }
            _ => None,
        };
        let by_number = call.is_some_and(|call| {
            let argument = call.stream().to_string();
            !argument.is_empty() && argument.bytes().all(|b| b.is_ascii_digit())
        });
        reads += usize::from(by_number);
    }
    reads
}
