//! The terminal while it is drawn on: taken over, and given back whatever happens.
//!
//! Dropping the screen gives the terminal back; a panic does so before it says what it has to say, which would be lost otherwise.

use std::{
    io::{self, Stdout, Write},
    sync::Once,
};

use crossterm::{
    cursor, execute, queue,
    style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor},
    terminal::{self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate},
};

use super::frame::{Line, Tone};

/// A terminal that is drawn on.
pub(super) struct Screen {
    out: Stdout,
    colours: bool,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open(colours: bool) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                told(panic);
            }));
        });
        terminal::enable_raw_mode()?;
        let mut screen = Self { out: io::stdout(), colours };
        execute!(screen.out, terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Draws the title, the lines from `scrolled` on, and the keys. Returns how far it could be scrolled.
    pub(super) fn draw(
        &mut self,
        title: &Line,
        lines: impl FnOnce(usize) -> Vec<Line>,
        scrolled: usize,
    ) -> io::Result<usize> {
        let (width, height) = terminal::size()?;
        // Some terminals do not know their size, and say nothing by nothing.
        let known = |size: u16, otherwise: usize| if size == 0 { otherwise } else { usize::from(size) };
        let (width, height) = (known(width, 80), known(height, 24));
        let lines = lines(width);
        let room = height.saturating_sub(2);
        let scrolled = scrolled.min(lines.len().saturating_sub(room));
        queue!(self.out, BeginSynchronizedUpdate, cursor::MoveTo(0, 0))?;
        self.line(title, width)?;
        for line in lines.iter().skip(scrolled).take(room) {
            self.line(line, width)?;
        }
        queue!(self.out, Clear(ClearType::FromCursorDown))?;
        if height > 1 {
            let more = lines.len().saturating_sub(scrolled + room);
            let keys = if more > 0 {
                format!("{more} more lines ↓   q quit   p pause   ↑↓ scroll")
            } else {
                "q quit   p pause   ↑↓ scroll".to_owned()
            };
            let bottom = u16::try_from(height - 1).unwrap_or(u16::MAX);
            queue!(self.out, cursor::MoveTo(0, bottom))?;
            self.written(&Line::new(Tone::Dim, &keys), width)?;
        }
        queue!(self.out, EndSynchronizedUpdate)?;
        self.out.flush()?;
        Ok(scrolled)
    }

    fn line(&mut self, line: &Line, width: usize) -> io::Result<()> {
        self.written(line, width)?;
        queue!(self.out, cursor::MoveToNextLine(1))
    }

    fn written(&mut self, line: &Line, width: usize) -> io::Result<()> {
        let text: String = line.text.chars().take(width).collect();
        if self.colours {
            match line.tone {
                Tone::Plain => {}
                Tone::Heading => queue!(self.out, SetAttribute(Attribute::Bold))?,
                Tone::Dim => queue!(self.out, SetForegroundColor(Color::DarkGrey))?,
                Tone::Wrong => {
                    queue!(self.out, SetForegroundColor(Color::Red), SetAttribute(Attribute::Bold))?
                }
                Tone::Look => queue!(self.out, SetForegroundColor(Color::Yellow))?,
                Tone::Well => queue!(self.out, SetForegroundColor(Color::Green))?,
            }
        }
        queue!(self.out, Print(text), Clear(ClearType::UntilNewLine))?;
        if self.colours {
            queue!(self.out, ResetColor, SetAttribute(Attribute::Reset))?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Fails only for a terminal that is gone, and then there is nobody to tell.
fn give_back() {
    execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen).ok();
    terminal::disable_raw_mode().ok();
}
