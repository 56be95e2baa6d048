//! The known fields of an object, each at most once.

use std::marker::PhantomData;

use crate::scan::Scanner;

pub(crate) trait Field: Copy {
    fn read(name: &str) -> Option<Self>;
    /// Below 16.
    fn number(self) -> u16;
}

macro_rules! fields {
    ($(#[$about:meta])* $name:ident { $($variant:ident $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        pub(crate) enum $name { $($variant,)* }

        impl $crate::fields::Field for $name {
            fn read(name: &str) -> Option<$name> {
                match name { $($text => Some($name::$variant),)* _ => None }
            }

            fn number(self) -> u16 {
                self as u16
            }
        }
    };
}
pub(crate) use fields;

pub(crate) struct FieldSet<F>(u16, PhantomData<F>);

impl<F: Field> FieldSet<F> {
    pub(crate) fn of(fields: &[F]) -> FieldSet<F> {
        FieldSet(fields.iter().fold(0, |set, field| set | 1 << field.number()), PhantomData)
    }

    pub(crate) fn has(&self, field: F) -> bool {
        self.0 & 1 << field.number() != 0
    }

    pub(crate) fn has_all(&self, fields: &[F]) -> bool {
        fields.iter().all(|field| self.has(*field))
    }

    pub(crate) fn add(&mut self, field: F) {
        self.0 |= 1 << field.number();
    }
}

impl<'a> Scanner<'a> {
    /// Walks over an object that has known fields only, none twice; `take` takes the value of each. Says which there were.
    pub(crate) fn object<F: Field>(&mut self, mut take: impl FnMut(&mut Self, F) -> Option<()>) -> Option<FieldSet<F>> {
        let mut seen = FieldSet::of(&[]);
        self.members(|scanner, name| {
            let field = F::read(&name)?;
            if seen.has(field) {
                return None;
            }
            seen.add(field);
            take(scanner, field)
        })?;
        Some(seen)
    }
}
