-- Crashes are few among the failed runs of a week, and are asked for alone.
create index failures_crashes on failures (at) where decision = 'crash';
