//! Names of jobs and schedules of cron jobs.

use serde_json::Value;

use super::super::status::Cause;

/// A cron job's name leaves room for the time that its jobs add to it.
const LONGEST_CRON_JOB: usize = 52;

/// Checks a CronJob.
pub fn cron_job(name: &str, object: &Value, causes: &mut Vec<Cause>) {
    if name.len() > LONGEST_CRON_JOB {
        let why = format!("must be no more than {LONGEST_CRON_JOB} characters");
        causes.push(Cause::invalid("metadata.name", &name.into(), &why));
    }
    match object["spec"]["schedule"].as_str().unwrap_or_default() {
        "" => causes.push(Cause::required("spec.schedule", "")),
        schedule if is_schedule(schedule) => {}
        schedule => {
            let why = format!("expected exactly 5 fields: {schedule:?}");
            causes.push(Cause::invalid("spec.schedule", &schedule.into(), &why));
        }
    }
}

fn is_schedule(schedule: &str) -> bool {
    schedule.starts_with('@') || schedule.split_whitespace().count() == 5
}
