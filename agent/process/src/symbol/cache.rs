//! A bounded cache in two generations: what is used again moves to the young one, and when that is
//! full the old one is dropped. Evicts in bulk, without a list to maintain.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, at most a stated number of them.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation_limit: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// A cache of at most `limit` entries.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation_limit: limit / 2,
        }
    }

    /// The value of `key`, which counts as used.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Keeps a value, at the cost of the ones that were not used for longest.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_limit {
            self.old = std::mem::take(&mut self.young);
        }
        if self.generation_limit > 0 {
            self.young.insert(key, value);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_under_its_limit_and_keeps_what_is_used() {
        let mut cache = Cache::new(8);
        for key in 0..1000 {
            cache.insert(key, key);
            assert_eq!(cache.get(&0).unwrap_or(0), 0);
            assert!(cache.len() <= 8, "{}", cache.len());
        }
        assert_eq!(cache.get(&0), Some(0));
        assert_eq!(cache.get(&500), None);
        assert_eq!(cache.get(&999), Some(999));
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        let mut cache = Cache::new(0);
        cache.insert(1, 1);
        assert_eq!(cache.len(), 0);
    }
}
