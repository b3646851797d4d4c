//! `secretctl set`

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use super::args::SetArgs;
use super::failure::{Failure, codes};
use super::forms::{FormField, Typed, form};
use super::output;
use super::unlock::{Access, prompt};
use super::values::{self, Source};
use crate::broker::{PersonDoor, RunError, Short, shortness, variable};
use crate::name::{FieldName, SecretName};
use crate::secret::SecretBytes;
use crate::time;
use crate::vault::{Change, FieldInfo, InvalidSecret, Stored, VALUE_FIELD, VaultError};

pub(super) fn run(access: &Access, args: SetArgs) -> Result<u8, Failure> {
    let mut change = all_but_values(&args)?;
    let named = values::named(&args)?;
    let door = access.door()?;
    let present = door.fields(&args.key)?;
    let form = args.template.map_or(&[][..], form);
    if named.is_empty() && form.is_empty() {
        change.values = the_value(&args, &present, !change.is_empty())?;
    } else {
        change.values = all_values(&args, named, form, &present, &change)?;
    }
    complete(&args.key, form, &present, &mut change)?;
    let short = short_values(&change, &present);
    let stored = door
        .set(&args.key, change)
        .map_err(|error| failure(error, &door, &present))?;
    let verb = match stored {
        Stored::Created => "Stored",
        Stored::Updated => "Updated",
    };
    output::done(&format!("{verb} {}.", args.key));
    for (name, short) in short {
        warn(short, &args.key, &name);
    }
    Ok(codes::DONE)
}

fn all_but_values(args: &SetArgs) -> Result<Change, Failure> {
    let cleared_if_empty = |text: &Option<String>| {
        text.clone()
            .map(|text| Some(text).filter(|text| !text.is_empty()))
    };
    let flags = (args.plain.iter().map(|name| (name.clone(), false)))
        .chain(args.sensitive.iter().map(|name| (name.clone(), true)));
    let bound = (args.bindings.iter())
        .map(|binding| (binding.0.clone(), Some(binding.1.clone())))
        .chain(args.unbind.iter().map(|variable| (variable.clone(), None)));
    Ok(Change {
        sensitive: each_once(flags)?,
        removed: args.removed.clone(),
        tags: args.tags.as_ref().map(|tags| tags.0.clone()),
        notes: cleared_if_empty(&args.notes),
        url: cleared_if_empty(&args.url),
        expires_at: match args.expires {
            Some(expiry) => Some(expiry.unix_seconds(time::now()).map_err(Failure::new)?),
            None => None,
        },
        bindings: each_once(bound)?,
        ..Change::default()
    })
}

/// Two wishes for one field or variable are a mistake.
fn each_once<K: Ord + std::fmt::Display, V>(
    given: impl Iterator<Item = (K, V)>,
) -> Result<BTreeMap<K, V>, Failure> {
    let mut all = BTreeMap::new();
    for (key, value) in given {
        let twice = format!("{key} is given twice");
        if all.insert(key, value).is_some() {
            return Err(Failure::new(twice).with_code(codes::USAGE));
        }
    }
    Ok(all)
}

/// The one value of a simple secret. Where something else is to be changed, an empty one leaves it as it is.
fn the_value(
    args: &SetArgs,
    present: &[FieldInfo],
    may_be_empty: bool,
) -> Result<Vec<(FieldName, SecretBytes)>, Failure> {
    let key = &args.key;
    let is_simple = match present {
        [] => true,
        [field] => field.name.as_str() == VALUE_FIELD,
        _ => false,
    };
    let several = || {
        let names: Vec<&str> = present.iter().map(|field| field.name.as_str()).collect();
        Failure::new(format!("{key} has the fields {}", names.join(", ")))
            .next("--field NAME sets one")
    };
    let is_terminal = io::stdin().is_terminal();
    if !is_simple && is_terminal {
        return if may_be_empty {
            Ok(Vec::new())
        } else {
            Err(several())
        };
    }
    let value = if is_terminal {
        let keeps = if may_be_empty {
            " (empty: keep the present one)"
        } else {
            ""
        };
        prompt(&format!("Value of {key}{keeps}: "))?
    } else {
        values::from_stdin(args.exact)?
    };
    match (value.is_empty() && may_be_empty, is_simple) {
        (true, _) => Ok(Vec::new()),
        (false, true) => Ok(Change::value(value).values),
        (false, false) => Err(several()),
    }
}

/// The fields that the command line names, and then those that the form has beside them.
fn all_values(
    args: &SetArgs,
    named: Vec<(FieldName, Source)>,
    form: &[FormField],
    present: &[FieldInfo],
    change: &Change,
) -> Result<Vec<(FieldName, SecretBytes)>, Failure> {
    let names: Vec<FieldName> = named.iter().map(|(name, _)| name.clone()).collect();
    let in_history: Vec<&str> = (named.iter())
        .filter(|(_, source)| matches!(source, Source::Given(_)))
        .filter(|(name, _)| is_sensitive(name, form, present, change))
        .map(|(name, _)| name.as_str())
        .collect();
    if !in_history.is_empty() {
        let names = in_history.join(", ");
        output::warn(&format!(
            "the value of {names} stands in your shell's history; --field NAME without a value asks for it"
        ));
    }
    let mut all = Vec::new();
    for (name, source) in named {
        let value = values::read(&args.key, &name, source, args.exact)?;
        all.push((name, value));
    }
    all.extend(values::fill_in(&args.key, form, &names, present)?);
    Ok(all)
}

fn is_sensitive(
    name: &FieldName,
    form: &[FormField],
    present: &[FieldInfo],
    change: &Change,
) -> bool {
    let wanted = change.sensitive.get(name).copied();
    let stored = present.iter().find(|field| field.name == *name);
    let of_form = form.iter().find(|field| field.name == name.as_str());
    wanted
        .or(stored.map(|field| field.sensitive))
        .or(of_form.map(|field| field.typed != Typed::Plain))
        .unwrap_or(true)
}

/// Adds what the form says of fields that the secret did not have: their flag, and the variable that gets them.
fn complete(
    key: &SecretName,
    form: &[FormField],
    present: &[FieldInfo],
    change: &mut Change,
) -> Result<(), Failure> {
    for field in form {
        let is_here = |name: &FieldName| name.as_str() == field.name;
        let Some((name, _)) = change.values.iter().find(|(name, _)| is_here(name)) else {
            continue;
        };
        if present.iter().any(|known| known.name == *name) {
            continue;
        }
        let name = name.clone();
        let is_bound = |to: &Option<FieldName>| to.as_ref() == Some(&name);
        if !change.bindings.values().any(is_bound) {
            let variable = match field.variable {
                Some(variable) => variable.parse().map_err(Failure::new)?,
                None => variable(&format!("{key}/{name}"), None).map_err(|error| {
                    Failure::new(error).next(format!("--binding VARIABLE={name} names another one"))
                })?,
            };
            change
                .bindings
                .entry(variable)
                .or_insert(Some(name.clone()));
        }
        let is_secret = field.typed != Typed::Plain;
        change.sensitive.entry(name).or_insert(is_secret);
    }
    Ok(())
}

fn short_values(change: &Change, present: &[FieldInfo]) -> Vec<(FieldName, Short)> {
    let short = |(name, value): &(FieldName, SecretBytes)| {
        let matters = !value.is_empty() && is_sensitive(name, &[], present, change);
        Some((name.clone(), shortness(value).filter(|_| matters)?))
    };
    change.values.iter().filter_map(short).collect()
}

fn warn(short: Short, key: &SecretName, field: &FieldName) {
    let what = match field.as_str() {
        VALUE_FIELD => key.to_string(),
        field => format!("field {field} of {key}"),
    };
    let fact = match short {
        Short::Unusable => "fewer than 4 bytes: agents cannot use it, since it cannot be hidden",
        Short::Guessable => "fewer than 8 bytes: it can be guessed, and found in output by chance",
    };
    output::warn(&format!("{what} has {fact}"));
}

/// A mistyped field is answered with the near one.
fn failure(error: RunError, door: &PersonDoor, present: &[FieldInfo]) -> Failure {
    let broken = match &error {
        RunError::Vault(VaultError::Invalid(broken)) => Some(broken.clone()),
        _ => None,
    };
    let failure = Failure::of(error, door);
    match broken {
        Some(InvalidSecret::UnknownField { env, field })
            if present.iter().any(|known| known.name == field) =>
        {
            failure.next(format!("--unbind {env} takes the binding away as well"))
        }
        Some(InvalidSecret::UnknownField { field, .. } | InvalidSecret::NoSuchField(field)) => {
            failure.next_field(&field, present)
        }
        _ => failure,
    }
}
