//! `millrace.v1.FeatureService`: typed values with their statuses, for one key, for some, or for millions.

use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;
use millrace_core::assemble::Status as ValueStatus;
use millrace_core::key::KeyText;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::call::{self, Deadline, answered};
use super::service::feature_service_server::FeatureService;
use super::stream::{RowStream, StreamPermit};
use super::value;
use crate::endpoints::Endpoint;
use crate::error::RequestError;
use crate::fast_path::features::FeatureMessages;
use crate::fast_path::protobuf::WrittenMessage;
use crate::parse::{self, Selection};
use crate::proto::millrace_v1::selection::By;
use crate::proto::millrace_v1::{self as pb, BatchGetFeaturesRequest, GetFeaturesRequest, StreamFeaturesRequest};
use crate::repository::{FeatureAnswer, FeatureRequest, Plan};
use crate::server::FeatureServer;

/// The service.
pub(super) struct FeatureApi {
    server: Arc<FeatureServer>,
    closing: CancellationToken,
}

impl FeatureApi {
    /// A service whose streams end when `closing` is cancelled.
    pub(super) fn new(server: Arc<FeatureServer>, closing: CancellationToken) -> Self {
        Self { server, closing }
    }

    async fn get(&self, request: Request<GetFeaturesRequest>) -> Result<WrittenMessage, Status> {
        let deadline = Deadline::of(request.metadata());
        let GetFeaturesRequest { entity, key, selection, as_of, include_metadata } = request.into_inner();
        let plan = plan(&self.server, &entity, selection)?;
        let keys = vec![parse::text_key(plan.entity(), "key", key)?];
        let asked = deadline.on(FeatureRequest::new(plan, keys, value::as_of(as_of)?))?;
        let answer = self.read(&self.server.endpoints.grpc_get, &asked, deadline).await?;
        Ok(FeatureMessages { request: &asked, answer: &answer, metadata: include_metadata }.one())
    }

    async fn batch(&self, request: Request<BatchGetFeaturesRequest>) -> Result<WrittenMessage, Status> {
        let deadline = Deadline::of(request.metadata());
        let BatchGetFeaturesRequest { entity, keys, selection, as_of, include_metadata } = request.into_inner();
        let plan = plan(&self.server, &entity, selection)?;
        let keys = parse::text_keys(plan.entity(), "keys", keys, self.server.limits.max_keys)?;
        let asked = deadline.on(FeatureRequest::new(plan, keys, value::as_of(as_of)?))?;
        let answer = self.read(&self.server.endpoints.grpc_batch, &asked, deadline).await?;
        Ok(FeatureMessages { request: &asked, answer: &answer, metadata: include_metadata }.batch())
    }

    async fn read(
        &self,
        endpoint: &Endpoint,
        asked: &FeatureRequest,
        deadline: Deadline,
    ) -> Result<FeatureAnswer, Status> {
        let answer = self.server.read(endpoint, asked).await?;
        let mut values = answer.rows.iter().flat_map(|row| &row.values);
        // Values that were read in time are worth more than the status DEADLINE_EXCEEDED.
        if deadline.is_over()
            && !answer.unavailable.is_empty()
            && values.all(|value| value.status == ValueStatus::Error)
        {
            return Err(call::exceeded());
        }
        Ok(answer)
    }

    /// The stream of rows that is to be read, and its keys.
    async fn stream(&self, mut request: Request<StreamFeaturesRequest>) -> Result<(RowStream, Vec<KeyText>), Status> {
        let deadline = Deadline::of(request.metadata());
        let permit = request.extensions_mut().remove::<StreamPermit>();
        let StreamFeaturesRequest { entity, keys, selection, as_of, include_metadata } = request.into_inner();
        let plan = plan(&self.server, &entity, selection)?;
        let as_of = value::as_of(as_of)?;
        // Millions of keys take a while to parse, and this thread would serve no other request meanwhile.
        let of_plan = plan.clone();
        let keys = tokio::task::spawn_blocking(move || parse::text_keys(of_plan.entity(), "keys", keys, usize::MAX));
        let keys = keys.await.map_err(|error| Status::internal(error.to_string()))??;
        let (server, closing) = (self.server.clone(), self.closing.clone());
        Ok((RowStream { server, plan, as_of, metadata: include_metadata, deadline, closing, _permit: permit }, keys))
    }
}

/// The plan of a selection.
fn plan(server: &FeatureServer, entity: &str, selection: Option<pb::Selection>) -> Result<Arc<Plan>, RequestError> {
    let served = server.served()?;
    let (entity, _) = parse::entity(&served.definitions, entity)?;
    match selection.and_then(|selection| selection.by) {
        None => served.plan(entity, Selection::Streamed),
        Some(By::Service(service)) => served.plan(entity, Selection::Service(&service)),
        Some(By::Features(list)) => served.plan(entity, Selection::Features(&parse::joined(&list.names)?)),
    }
}

#[tonic::async_trait]
impl FeatureService for FeatureApi {
    async fn get_features(&self, request: Request<GetFeaturesRequest>) -> Result<Response<WrittenMessage>, Status> {
        answered(&self.server.endpoints.grpc_get, self.get(request).boxed()).await
    }

    async fn batch_get_features(
        &self,
        request: Request<BatchGetFeaturesRequest>,
    ) -> Result<Response<WrittenMessage>, Status> {
        answered(&self.server.endpoints.grpc_batch, self.batch(request).boxed()).await
    }

    type StreamFeaturesStream = BoxStream<'static, Result<WrittenMessage, Status>>;

    async fn stream_features(
        &self,
        request: Request<StreamFeaturesRequest>,
    ) -> Result<Response<Self::StreamFeaturesStream>, Status> {
        let mut in_progress = self.server.endpoints.grpc_stream.begin();
        let begun = call::guarded(self.stream(request)).await;
        let (rows, keys) = begun.inspect_err(|status| in_progress.set_outcome(call::outcome(status.code())))?;
        Ok(Response::new(rows.of(keys, in_progress)))
    }
}
