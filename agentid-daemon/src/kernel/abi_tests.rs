//! The layouts that both sides share: in a golden file, and in the object as it was built.

use std::{collections::BTreeSet, fmt::Write};

use agentid_common::{ABI_VERSION, layout::LAYOUTS};
use object::{Object, ObjectSection, ObjectSymbol};

use super::{
    btf::Btf,
    object::{HOOKS, LATER_HOOKS, MAPS, OBJECT, SYSCTL, TRACEPOINT, not_always},
};
use crate::policy::golden;

/// The built object; `None` in a build without the BPF toolchain, which embeds nothing.
fn built() -> Option<object::File<'static>> {
    if OBJECT.is_empty() {
        assert!(option_env!("AGENTID_EBPF_OBJECT").is_none());
        eprintln!("skipped: built without AGENTID_EBPF_OBJECT, so there is no object to look at");
        return None;
    }
    Some(object::File::parse(OBJECT).unwrap())
}

#[test]
fn abi_is_the_golden_one() {
    let mut text = format!("ABI {ABI_VERSION}\n");
    for layout in LAYOUTS {
        writeln!(text, "\n{} size {} align {}", layout.name, layout.size, layout.align).unwrap();
        for field in layout.fields {
            writeln!(text, "  {:>5} {:>5} {}", field.offset, field.size, field.name).unwrap();
        }
    }
    golden::check("abi.txt", &text);
}

#[test]
fn abi_of_the_built_object_is_ours() {
    let Some(file) = built() else { return };
    let section = file.section_by_name(".BTF").unwrap();
    let btf = Btf::parse(section.data().unwrap()).unwrap();
    for layout in LAYOUTS {
        assert_eq!(btf.size_of(layout.name), Some(layout.size as u32), "size of {}", layout.name);
        for field in layout.fields {
            let found = btf.member(layout.name, &[field.name]);
            let place = found.map(|member| (member.offset as usize, member.size as usize));
            assert_eq!(place, Some((field.offset, field.size)), "{}.{}", layout.name, field.name);
        }
    }
}

#[test]
fn arguments_are_found_by_name() {
    let Some(file) = built() else { return };
    let section = file.section_by_name(".BTF").unwrap();
    let btf = Btf::parse(section.data().unwrap()).unwrap();
    assert_eq!(btf.argument("spell", "dentry"), Some(0));
    assert_eq!(btf.argument("spell", "body"), Some(2));
    assert_eq!(btf.argument("spell", "other"), None);
    assert_eq!(btf.argument("no_such_function", "dentry"), None);
}

#[test]
fn object_has_the_programs_and_maps_that_are_loaded_and_no_others() {
    let Some(file) = built() else { return };
    let symbols_in = |wanted: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        file.symbols()
            .filter(|symbol| symbol.is_global() && symbol.is_definition())
            .filter_map(|symbol| {
                let section = file.section_by_index(symbol.section_index()?).ok()?;
                wanted(section.name().ok()?).then(|| symbol.name().map(str::to_owned).ok())?
            })
            .collect()
    };
    let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(symbols_in(&|section| section == ".maps"), names(MAPS));

    let program = |section: &str| {
        ["lsm/", "tp_btf/", "cgroup/", "iter/", "perf_event"]
            .iter()
            .any(|kind| section.starts_with(kind))
    };
    let mut loaded = names(HOOKS);
    loaded.extend(LATER_HOOKS.iter().map(|(name, _)| (*name).to_owned()));
    loaded.extend(not_always().map(str::to_owned));
    loaded.extend(names(&[TRACEPOINT, SYSCTL.0]));
    assert_eq!(symbols_in(&program), loaded);
}

#[test]
fn map_names_fit_into_the_kernels() {
    for name in MAPS {
        assert!(name.len() <= 15, "{name} has more than 15 characters");
    }
}
