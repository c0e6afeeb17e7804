//! Memory for the time of a request: an arena that is emptied and used again, and an account of what the request allocated.
//!
//! A request that builds a hundred small things in an arena allocates nothing once the arena has grown, and frees nothing.
//! The arena is bumpalo's; the pool keeps emptied ones, and drops those that one large request has blown up.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bumpalo::Bump;
use trimtab_config::ByteSize;

use crate::error::BuildError;
use crate::object::{ObjectPool, OwnedPooled};
use crate::stats::ObjectStats;

/// Gives out arenas. Clones are cheap and speak of the same pool.
///
/// ```
/// use trimtab_pool::Scopes;
///
/// let scopes = Scopes::new("requests")?;
/// {
///     let scope = scopes.enter();
///     let name = scope.alloc_str("Ada");
///     let rows = scope.alloc_slice_copy(&[1, 2, 3]);
///     assert_eq!((&*name, rows.len()), ("Ada", 3));
/// } // emptied, and back in the pool
/// assert_eq!(scopes.stats().idle, 1);
/// # Ok::<(), trimtab_pool::BuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Scopes {
    arenas: ObjectPool<Bump>,
}

/// An arena in a request's hands; dereferences to [`Bump`]. Dropping it frees all that was allocated in it at once, without
/// running destructors, and gives it back.
pub struct Scope {
    arena: OwnedPooled<Bump>,
}

impl Scopes {
    /// Arenas of up to 1 MiB are kept, up to 100 of them.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name.
    pub fn new(name: &str) -> Result<Self, BuildError> {
        Self::with_limits(name, 100, ByteSize::mib(1))
    }

    /// Up to `max` arenas are kept, each only while it has at most `arena_max` bytes.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name, or a `max` of 0.
    pub fn with_limits(name: &str, max: u32, arena_max: ByteSize) -> Result<Self, BuildError> {
        let arenas = ObjectPool::builder(name, Bump::new)
            .max(max)
            .growth_factor(1.0)
            .reset(Bump::reset)
            .keep_if(move |arena: &Bump| arena.allocated_bytes() <= arena_max.as_usize())
            .build()?;
        Ok(Self { arenas })
    }

    /// An empty arena. Never waits.
    pub fn enter(&self) -> Scope {
        Scope { arena: self.arenas.acquire_owned() }
    }

    /// What the pool holds now, and what happened since it was made.
    pub fn stats(&self) -> ObjectStats {
        self.arenas.stats()
    }

    /// The pool behind it, for a registry or a trim.
    pub fn pool(&self) -> &ObjectPool<Bump> {
        &self.arenas
    }
}

impl Scope {
    /// Bytes that the arena has from the allocator.
    pub fn allocated(&self) -> usize {
        self.arena.allocated_bytes()
    }
}

impl Deref for Scope {
    type Target = Bump;

    fn deref(&self) -> &Bump {
        &self.arena
    }
}

impl DerefMut for Scope {
    fn deref_mut(&mut self) -> &mut Bump {
        &mut self.arena
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("allocated", &self.allocated()).finish()
    }
}
