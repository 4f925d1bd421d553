//! As much as there is room for: how to find how much that is from trials that take a number of things whole or refuse it,
//! at a cost in proportion to what is let in.

/// How a trial went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// All that was asked for is in.
    Said,
    /// It does not fit, and none of it is in.
    Refused,
    /// There is nothing left.
    Empty,
}

/// Has `attempt` try the next so many things, at first `count` of them, until nothing is left or the very next one does not
/// fit. Twice as many are tried after each success, half as many after each one that follows a refusal: in all, `count` and
/// four times what is let in at most, and one thing a halving. What comes behind the first that does not fit is not tried:
/// the smaller ones would take its room for ever.
pub(super) fn fill(mut count: usize, mut attempt: impl FnMut(usize) -> Trial) {
    let mut is_refused = false;
    while count > 0 {
        match attempt(count) {
            Trial::Said if is_refused => count = (count / 2).max(1),
            Trial::Said => count = count.saturating_mul(2),
            Trial::Refused => {
                is_refused = true;
                count /= 2;
            }
            Trial::Empty => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is let in of things of these sizes where there is that much room, and how many were tried in all.
    fn filled(first: usize, sizes: &[usize], mut room: usize) -> (usize, usize) {
        let (mut said, mut tried) = (0, 0);
        fill(first, |count| {
            let next = &sizes[said..sizes.len().min(said + count)];
            tried += next.len();
            match next.iter().sum::<usize>() {
                _ if next.is_empty() => Trial::Empty,
                size if size > room => Trial::Refused,
                size => {
                    room -= size;
                    said += next.len();
                    Trial::Said
                }
            }
        });
        (said, tried)
    }

    #[test]
    fn everything_up_to_the_first_that_does_not_fit_is_let_in() {
        let cases: [(&[usize], usize, usize); 6] = [
            (&[], 5, 0),
            (&[1], 0, 0),
            (&[1, 1, 1, 1, 1, 1, 1], 7, 7),
            (&[1, 1, 1, 1, 1, 1, 1], 6, 6),
            (&[2, 9, 1, 1], 5, 1), // the small ones wait behind the large one
            (&[0, 0, 0, 7, 0], 3, 3),
        ];
        for (sizes, room, want) in cases {
            for first in [1, 3, sizes.len().max(1)] {
                assert_eq!(filled(first, sizes, room).0, want, "{sizes:?} into {room}, {first} at first");
            }
        }
    }

    #[test]
    fn the_cost_is_that_of_what_is_let_in_and_not_of_what_waits() {
        let waiting = vec![1; 100_000];
        for room in [0, 1, 2, 7, 100, 1023, 1024, 1025, 30_000] {
            let (said, tried) = filled(1, &waiting, room);
            assert_eq!(said, room);
            assert!(tried <= 1 + 4 * room + 20, "{tried} tried to let in {room}");
        }
        let (said, tried) = filled(waiting.len(), &waiting, 30_000);
        assert_eq!(said, 30_000);
        assert!(tried <= 3 * waiting.len(), "{tried} tried of all");
    }
}
