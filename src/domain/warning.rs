//! Warnings and alerts, in the words of CAP 1.2.
