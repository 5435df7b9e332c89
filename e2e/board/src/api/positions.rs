//! In: the ids in a lane or board in their order, and where one shall stand. Out: the new order. Pure.

/// Moves (or puts) `id` to `index`, counted from 0 among the others; beyond the end means last.
pub fn place(order: &[i64], id: i64, index: usize) -> Vec<i64> {
    let mut order: Vec<i64> = order.iter().copied().filter(|other| *other != id).collect();
    order.insert(index.min(order.len()), id);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placing_keeps_the_others_in_order() {
        assert_eq!(place(&[1, 2, 3], 3, 0), [3, 1, 2]);
        assert_eq!(place(&[1, 2, 3], 1, 1), [2, 1, 3]);
        assert_eq!(place(&[1, 2, 3], 1, 2), [2, 3, 1]);
        assert_eq!(place(&[1, 2, 3], 2, 1), [1, 2, 3]);
        assert_eq!(place(&[1, 2], 9, 1), [1, 9, 2]);
        assert_eq!(place(&[1, 2], 9, usize::MAX), [1, 2, 9]);
        assert_eq!(place(&[], 9, 5), [9]);
    }
}
