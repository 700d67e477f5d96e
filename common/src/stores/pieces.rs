//! Cuts items that are sent to a store into pieces, by number and by bytes, so that one timeout covers a known amount.

/// Contiguous pieces of at most `most` items and, unless one item alone has more, `bytes` bytes.
pub fn pieces<T>(items: &[T], most: usize, bytes: usize, size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut left = bytes;
        let fits = rest.iter().take(most).take_while(|item| {
            let size = size(item);
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        });
        let end = fits.count().max(1);
        let (piece, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_as_large_as_it_may_be_and_nothing_is_lost() {
        let cut = |items: &[usize], most, bytes| -> Vec<Vec<usize>> {
            pieces(items, most, bytes, |item| *item).map(<[usize]>::to_vec).collect()
        };
        assert_eq!(cut(&[], 3, 10), Vec::<Vec<usize>>::new());
        assert_eq!(cut(&[1, 2, 3, 4, 5], 3, 100), [vec![1, 2, 3], vec![4, 5]]);
        assert_eq!(cut(&[4, 6, 1, 50, 10, 1], 9, 10), [vec![4, 6], vec![1], vec![50], vec![10], vec![1]]);
        assert_eq!(cut(&[11, 12], 9, 10), [[11], [12]]);
    }
}
