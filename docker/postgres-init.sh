#!/bin/sh
# Make the two databases of the service, each with an owner that cannot reach the other. PostgreSQL's image
# runs this once, when its volume is empty. Two databases, because MLflow and Optuna both keep their
# migrations in a table called alembic_version.
set -eu

# make USER DATABASE FILE: the password goes in by standard input, where no process list shows it.
make() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<SQL
CREATE ROLE $1 LOGIN PASSWORD '$(cat "$3")';
CREATE DATABASE $2 OWNER $1;
REVOKE CONNECT ON DATABASE $2 FROM PUBLIC;
SQL
}

make mlflow mlflow "$MLFLOW_DATABASE_PASSWORD_FILE"
make trials trials "$TRIALS_DATABASE_PASSWORD_FILE"
