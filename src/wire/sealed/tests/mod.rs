//! The link, by example, by chance, and against other people's numbers.
