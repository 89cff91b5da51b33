-- A seller's last jobs are found among millions of others. Neither column ever changes, so no step of a job touches this.
create index jobs_of_a_group on jobs (group_name, id);
