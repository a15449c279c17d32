//! What an exchange promises, tried from outside: each test is one sentence.

mod story;
